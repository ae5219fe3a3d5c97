"""What the life of a run asks for besides publishing: each step, for sync code and for async."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextvars import copy_context
from typing import Any, Final, TypeVar

from eventflow.engine.invocation import Invocation
from eventflow.interrupts.portals import background, running_loop, watchdog
from eventflow.interrupts.scopes import CancelScope
from eventflow.interrupts.signals import notice
from eventflow.runners import TaskScope
from eventflow.runs.futures import Future, wait

__all__ = [
    "CALL",
    "Ask",
    "AwaitBody",
    "AwaitUpstream",
    "Call",
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


class Effect:
    """Something that a driver is to do; what it gives is told to the life of the run."""

    __slots__ = ()

    def run(self, invocation: Invocation) -> Any:  # noqa: ARG002 - the interface
        """Do it from sync code."""
        raise AssertionError

    async def arun(self, invocation: Invocation) -> Any:  # noqa: ARG002 - the interface
        """Do it from async code."""
        raise AssertionError


@contextlib.contextmanager
def timed(invocation: Invocation, seconds: float | None) -> Iterator[None]:
    """Have the run stopped if the block takes longer than so many seconds."""
    if seconds is None:
        yield
        return
    cancel_scope = invocation.run.cancel_scope
    timer = cancel_scope.start_timer()
    loop = running_loop()
    if loop is None or not invocation.definition.is_async:
        call_off: Callable[[], object] = watchdog.call_later(
            seconds, lambda: cancel_scope.expire(timer)
        )
    else:
        call_off = loop.call_later(seconds, cancel_scope.expire, timer).cancel
    try:
        yield
    finally:
        cancel_scope.stop_timer()
        call_off()


class TakenOver(BaseException):
    """Tells the driver of a run that another thread drives it, and how the body ended at last."""

    def __init__(self, takeover: Any, error: BaseException | None) -> None:
        super().__init__()
        self.takeover = takeover
        self.error = error


def call(invocation: Invocation, body: Callable[[], T]) -> T:
    """Call a sync body, of which another thread may relieve the driver.

    Raises:
        TakenOver: it has.
        BaseException: what the body raised.
    """
    cancel_scope = invocation.run.cancel_scope
    invocation.around = copy_context()
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


async def acall(invocation: Invocation, body: Any, *, joins: bool = False) -> Any:
    """Await an async body, and what it has submitted if it `joins`; raises as `call` does.

    A coroutine that is to be closed may not wait for its takeover: then it says nothing of it.
    """
    cancel_scope = invocation.run.cancel_scope
    invocation.around = copy_context()
    cancel_scope.executing = invocation
    try:
        if joins and invocation.scope is not None and isinstance(body, types.CoroutineType):
            result = await _leavable(body, cancel_scope)
        else:
            cancel_scope.body = body
            result = await body
        scope = invocation.scope if joins else None
        if scope is not None and not scope.empty:
            await scope.ajoin()
    except BaseException as error:
        if cancel_scope.leave_body(invocation) or isinstance(error, GeneratorExit):
            raise
        raise TakenOver(cancel_scope.takeover, error) from None
    if cancel_scope.leave_body(invocation):
        return result
    raise TakenOver(cancel_scope.takeover, None)


@types.coroutine
def _leavable(
    body: types.CoroutineType[Any, Any, T], cancel_scope: CancelScope
) -> Generator[Any, Any, T]:
    """Await a coroutine, which can be left standing where it is when it is overdue.

    For flows: it costs 2 us. The coroutine of a task is closed instead, which it may ignore.
    """
    try:
        wanted = body.send(None)
        while True:
            try:
                sent = yield wanted
            except GeneratorExit:
                body.close()
                raise
            except BaseException as error:
                notice()
                if cancel_scope.overdue:
                    with contextlib.suppress(Exception):  # whatever it says, it is over
                        body.close()
                    raise
                wanted = body.throw(error)
            else:
                wanted = body.send(sent)
    except StopIteration as end:
        result: T = end.value
        return result


class Call(Effect):
    """Call the body, and wait for the tasks that it submitted; the timeout covers both."""

    __slots__ = ()

    def run(self, invocation: Invocation) -> Any:
        """Call a sync body where interrupts may reach it."""
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
                joins=True,
            )
        with timed(invocation, timeout):
            return await acall(
                invocation,
                invocation.definition.fn(*invocation.args, **invocation.kwargs),
                joins=True,
            )


CALL: Final = Call()


class Sleep(Effect):
    """Wait before the next attempt."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def run(self, invocation: Invocation) -> None:
        """Block; a cancellation wakes it."""
        invocation.run.cancel_scope.sleep(self.seconds)

    async def arun(self, invocation: Invocation) -> None:  # noqa: ARG002 - the step's interface
        """Sleep on the loop."""
        await asyncio.sleep(self.seconds)


class AwaitUpstream(Effect):
    """Wait for the task runs whose results are this run's arguments."""

    __slots__ = ("futures",)

    def __init__(self, futures: list[Future[Any]]) -> None:
        self.futures = futures

    def run(self, invocation: Invocation) -> None:
        """Block; a cancellation wakes it."""
        invocation.run.cancel_scope.call(lambda: wait(self.futures))

    async def arun(self, invocation: Invocation) -> None:  # noqa: ARG002 - the step's interface
        """Wait on the loop."""
        for future in self.futures:
            await future.ended()


class CancelChildren(Effect):
    """Cancel every submitted task that has not ended, and wait for their ends."""

    __slots__ = ("scope",)

    def __init__(self, scope: TaskScope) -> None:
        self.scope = scope

    def run(self, invocation: Invocation) -> None:
        """Block until all have ended.

        An async run comes here only when its coroutine is being closed: then nothing can turn
        its loop while it waits, and what was cancelled ends whenever that loop goes on.
        """
        self.scope.close()
        self.scope.cancel()
        if not invocation.definition.is_async or invocation.run.cancel_scope.takeover is not None:
            self.scope.join()
            self.scope.reopen()

    async def arun(self, invocation: Invocation) -> None:  # noqa: ARG002 - the step's interface
        """Wait on the loop; being cancelled meanwhile does not cut it short."""
        self.scope.close()
        self.scope.cancel()
        try:
            await shielded(self.scope.ajoin())
        finally:
            self.scope.reopen()


class AwaitBody(Effect):
    """Give a cancelled body the time that is left to it; says whether it has ended in it."""

    __slots__ = ()

    def run(self, invocation: Invocation) -> bool:
        """Block; only who has taken a run over comes here."""
        ended: bool = invocation.run.cancel_scope.takeover.linger()

        return ended


class Ask(Effect):
    """Put a question to a user's function, sync or async."""

    __slots__ = ("args", "function")

    def __init__(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.function = function
        self.args = args

    def run(self, invocation: Invocation) -> Any:  # noqa: ARG002 - the step's interface
        """Call it; if it gives a coroutine, have the background loop run that."""
        answer = self.function(*self.args)
        if inspect.iscoroutine(answer):
            return background.run(answer)

        return answer

    async def arun(self, invocation: Invocation) -> Any:  # noqa: ARG002 - the step's interface
        """Call it, and await what it gives."""
        answer = self.function(*self.args)

        return await answer if inspect.isawaitable(answer) else answer


async def shielded(awaitable: Any) -> Any:
    """Await something to its end although this task is cancelled meanwhile; then say so.

    It gets a task of its own. An exit or an interrupt raised in there must not reach the loop
    through that task, so it is carried over and raised here.

    Raises:
        asyncio.CancelledError: this task was cancelled meanwhile.
    """
    task = _task(_outcome(awaitable))
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


def _task(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Begin a task of its own, and where Python can do so at once: then it may have ended."""
    if sys.version_info >= (3, 12):
        return asyncio.eager_task_factory(asyncio.get_running_loop(), work)

    return asyncio.create_task(work)


async def _outcome(awaitable: Any) -> tuple[Any, BaseException | None]:
    try:
        return await awaitable, None
    except BaseException as error:  # noqa: BLE001 - raised by whoever awaits the outcome
        return None, error
