"""The effects that a lifecycle asks its driver for, each for sync code and for async code."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextvars import copy_context
from threading import current_thread, main_thread
from typing import Any, Final, TypeVar

from eventflow.engine.invocation import Invocation
from eventflow.interrupts.portals import background_portal, running_loop, timer_portal
from eventflow.interrupts.scopes import CancelScope
from eventflow.interrupts.signals import note_asyncio_interrupt
from eventflow.primitives.callables import qualified_name
from eventflow.primitives.loggers import get_logger
from eventflow.primitives.texts import is_a
from eventflow.runners.threads import extra_worker
from eventflow.runs.futures import Future, wait
from eventflow.runs.task_scope import TaskScope

__all__ = [
    "AWAIT_LEAVE",
    "CALL",
    "AwaitBody",
    "AwaitComputation",
    "AwaitUpstream",
    "Call",
    "CallFunction",
    "CancelChildren",
    "Effect",
    "Sleep",
    "TakenOver",
    "acall",
    "call",
    "shielded",
    "timed",
]

T = TypeVar("T")

_logger: Final = get_logger("runs")


class Effect:
    """Something for a driver to carry out; its result is sent to the lifecycle."""

    __slots__ = ()

    def run(self, invocation: Invocation) -> Any:
        """Carry it out from sync code."""
        raise NotImplementedError

    async def arun(self, invocation: Invocation) -> Any:
        """Carry it out from async code."""
        raise NotImplementedError


@contextlib.contextmanager
def timed(invocation: Invocation, seconds: float | None) -> Iterator[None]:
    """Stop the run if the block takes longer than `seconds`."""
    if seconds is None:
        yield
        return
    if not invocation.definition.isasync and current_thread() is not main_thread():
        _warn_of_long_calls(invocation, seconds)
    cancel_scope = invocation.run.cancel_scope
    timer = cancel_scope.start_timer()
    loop = running_loop()
    if loop is None or not invocation.definition.isasync:
        cancel_timer: Callable[[], object] = timer_portal.call_later(
            seconds, lambda: cancel_scope.expire(timer)
        )
    else:
        cancel_timer = loop.call_later(seconds, cancel_scope.expire, timer).cancel
    try:
        yield
    finally:
        cancel_scope.stop_timer()
        cancel_timer()


_warned: Final[dict[tuple[str, str], object]] = {}
"""The kinds and names of the functions whose runs have been warned of."""


def _warn_of_long_calls(invocation: Invocation, seconds: float) -> None:
    """Warn, once for each function, of what its timeout cannot do in a worker thread.

    In the main thread a signal interrupts what waits in C; in another one an exception is raised
    when the call is back in Python.
    """
    run, warning = invocation.run, object()
    kind, function = run.run_type, qualified_name(invocation.definition.fn)
    if _warned.setdefault((kind, function), warning) is warning:
        message = (
            f"The {kind} run {run.name!r} has a timeout of {seconds:g} s and is executed in a "
            "worker thread, where a call in C, such as time.sleep, cannot be interrupted: the "
            "timeout takes effect when the call returns. Give such calls a timeout of their own, "
            f"make the {kind} async, or call it in the main thread."
        )
        _logger.warning(message)


class TakenOver(BaseException):
    """Tells the driver of a run that another thread has taken it over, and how the body ended."""

    def __init__(self, takeover: Any, error: BaseException | None) -> None:
        super().__init__()
        self.takeover = takeover
        self.error = error


def call(invocation: Invocation, body: Callable[[], T]) -> T:
    """Call a sync body; another thread may take the run over meanwhile.

    Raises:
        TakenOver: the run was taken over.
        BaseException: what the body raised.
    """
    cancel_scope = invocation.run.cancel_scope
    invocation.body_context = copy_context()
    cancel_scope.executing = invocation
    try:
        result = cancel_scope.call(body)
    except BaseException as error:
        if cancel_scope.leave_body(invocation):
            raise
        raise TakenOver(cancel_scope.takeover, error) from None
    if cancel_scope.leave_body(invocation):
        return result
    raise TakenOver(cancel_scope.takeover, None)


async def acall(invocation: Invocation, body: Any, *, join: bool = False) -> Any:
    """Await an async body and, with `join`, the tasks that it submitted; raise as `call` does.

    A coroutine that is being closed must not await the takeover: it never raises `TakenOver`.
    """
    cancel_scope = invocation.run.cancel_scope
    invocation.body_context = copy_context()
    cancel_scope.executing = invocation
    try:
        if join and invocation.scope is not None and isinstance(body, types.CoroutineType):
            result = await _abandonable(body, cancel_scope)
        else:
            cancel_scope.body = body
            result = await body
        if join and type(result) is types.CoroutineType:  # its `await` was forgotten
            result = await _abandonable(result, cancel_scope)
        scope = invocation.scope if join else None
        if scope is not None and not scope.empty:
            await scope.ajoin()
    except BaseException as error:
        if cancel_scope.leave_body(invocation) or is_a(error, GeneratorExit):
            raise
        raise TakenOver(cancel_scope.takeover, error) from None
    if cancel_scope.leave_body(invocation):
        return result
    raise TakenOver(cancel_scope.takeover, None)


@types.coroutine
def _abandonable(
    body: types.CoroutineType[Any, Any, T], cancel_scope: CancelScope
) -> Generator[Any, Any, T]:
    """Await a coroutine, and stop awaiting it when it is overdue, even if it does not end.

    Only for flows, since it costs 2 us. The coroutine of a task is closed, which it may ignore.
    """
    try:
        awaited = body.send(None)
        while True:
            try:
                sent = yield awaited
            except GeneratorExit:
                body.close()
                raise
            except BaseException as error:
                note_asyncio_interrupt()
                if cancel_scope.given_up:
                    with contextlib.suppress(Exception):  # the run has ended already
                        body.close()
                    raise
                awaited = body.throw(error)
            else:
                awaited = body.send(sent)
    except StopIteration as end:
        result: T = end.value
        return result


class Call(Effect):
    """Call the body, and wait for the tasks that it submitted; the timeout covers both."""

    __slots__ = ()

    def run(self, invocation: Invocation) -> Any:
        """Call a sync body, with interrupts unmasked."""
        timeout = invocation.definition.timeout_seconds
        if timeout is None:
            return call(invocation, invocation.body)
        with timed(invocation, timeout):
            return call(invocation, invocation.body)

    async def arun(self, invocation: Invocation) -> Any:
        """Await an async body."""
        timeout = invocation.definition.timeout_seconds
        if timeout is None:
            return await acall(
                invocation,
                invocation.definition.fn(*invocation.args, **invocation.kwargs),
                join=True,
            )
        with timed(invocation, timeout):
            return await acall(
                invocation,
                invocation.definition.fn(*invocation.args, **invocation.kwargs),
                join=True,
            )


CALL: Final = Call()


class AwaitLeave(Effect):
    """Ship the attempt, and wait until a worker asks leave to begin; return the state to enter."""

    __slots__ = ()


AWAIT_LEAVE: Final = AwaitLeave()


class Sleep(Effect):
    """Wait before the next attempt."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def run(self, invocation: Invocation) -> None:
        """Block for that time, or until the run is cancelled."""
        invocation.run.cancel_scope.sleep(self.seconds)

    async def arun(self, invocation: Invocation) -> None:  # noqa: ARG002 - the interface
        """Sleep on the event loop."""
        await asyncio.sleep(self.seconds)


class AwaitUpstream(Effect):
    """Wait for the task runs whose results are this run's arguments."""

    __slots__ = ("futures",)

    def __init__(self, futures: list[Future[Any]]) -> None:
        self.futures = futures

    def run(self, invocation: Invocation) -> None:
        """Block until all have ended, or until the run is cancelled."""
        invocation.run.cancel_scope.call(lambda: wait(self.futures))

    async def arun(self, invocation: Invocation) -> None:  # noqa: ARG002 - the interface
        """Wait on the event loop."""
        for future in self.futures:
            await future.ended()


class AwaitComputation(Effect):
    """Wait for another run that computes the result of this one's cache key."""

    __slots__ = ("future",)

    def __init__(self, future: Future[Any]) -> None:
        self.future = future

    def run(self, invocation: Invocation) -> None:
        """Block until it has ended; one thread more may work, as the other run may need it."""
        with extra_worker():
            invocation.run.cancel_scope.call(self.future.wait)

    async def arun(self, invocation: Invocation) -> None:  # noqa: ARG002 - the interface
        """Wait on the event loop."""
        await self.future.ended()


class CancelChildren(Effect):
    """Cancel every submitted task run that has not ended, and wait for their ends."""

    __slots__ = ("scope",)

    def __init__(self, scope: TaskScope) -> None:
        self.scope = scope

    def run(self, invocation: Invocation) -> None:
        """Block until all have ended.

        For an async run this is called when its coroutine is being closed. The loop cannot
        run while this blocks, so the task runs end later, when the loop goes on.
        """
        self.scope.close()
        self.scope.cancel()
        if not invocation.definition.isasync or invocation.run.cancel_scope.takeover is not None:
            self.scope.join()
            self.scope.reopen()

    async def arun(self, invocation: Invocation) -> None:  # noqa: ARG002 - the interface
        """Wait on the event loop to the end, even if this task is cancelled meanwhile."""
        self.scope.close()
        self.scope.cancel()
        try:
            await shielded(self.scope.ajoin())
        finally:
            self.scope.reopen()


class AwaitBody(Effect):
    """Wait for a cancelled body, as `Takeover.wait_for_body` does."""

    __slots__ = ()

    def run(self, invocation: Invocation) -> bool:
        """Block; only the thread that has taken the run over does this."""
        ended: bool = invocation.run.cancel_scope.takeover.wait_for_body()

        return ended


class CallFunction(Effect):
    """Call a function of the user's, sync or async, outside of the body."""

    __slots__ = ("args", "function")

    def __init__(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.function = function
        self.args = args

    def run(self, invocation: Invocation) -> Any:  # noqa: ARG002 - the interface
        """Call it; run a coroutine that it returns on the background loop."""
        result = self.function(*self.args)
        if inspect.iscoroutine(result):
            return background_portal.run(result)

        return result

    async def arun(self, invocation: Invocation) -> Any:  # noqa: ARG002 - the interface
        """Call it, and await an awaitable that it returns."""
        result = self.function(*self.args)

        return await result if inspect.isawaitable(result) else result


async def shielded(awaitable: Any) -> Any:
    """Await something to its end even if this task is cancelled meanwhile; return its result.

    It runs in a task of its own. An exit or an interrupt raised there must not reach the loop
    through that task, so it is captured and raised here.

    Raises:
        asyncio.CancelledError: this task was cancelled meanwhile.
    """
    task = _start_task(_capture(awaitable))
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    result, raised = task.result()
    if raised is not None:
        raise raised
    if cancelled is not None:
        raise cancelled

    return result


def _start_task(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start a task, eagerly where Python can: then it may have ended on return."""
    if sys.version_info >= (3, 12):
        return asyncio.eager_task_factory(asyncio.get_running_loop(), work)

    return asyncio.create_task(work)


async def _capture(awaitable: Any) -> tuple[Any, BaseException | None]:
    """Await something; return its result, or None and what it raised."""
    try:
        return await awaitable, None
    except BaseException as error:  # noqa: BLE001 - raised by the caller
        return None, error
