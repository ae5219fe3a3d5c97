"""Running one hook for one event: attempts, timeout, isolation, outcome."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from concurrent.futures import Future
from contextvars import copy_context
from time import perf_counter, sleep
from typing import Any, TypeVar
from uuid import UUID

import anyio.to_thread
from uuid_utils.compat import uuid7

from eventflow.context import HookContext, current_hook
from eventflow.control import Inside, gate
from eventflow.errors import HookTimeout
from eventflow.eventbus import EventBus, current_bus
from eventflow.events import (
    Event,
    HookDeadLettered,
    HookFailed,
    HookOutcome,
    HookSucceeded,
    StateTransition,
)
from eventflow.filters import States
from eventflow.hooks import Hook, HookFunction
from eventflow.logs import run_logger
from eventflow.portal import background, running_loop
from eventflow.retries import Delays
from eventflow.runs import Run, RunType
from eventflow.states import AnyState, ErrorInfo
from eventflow.subscriptions import Phase

__all__ = ["HookReceiver", "hook"]

F = TypeVar("F", bound=HookFunction)
T = TypeVar("T")


class _Delivery:
    """One hook owed one event."""

    __slots__ = ("attempt", "began", "bus", "event", "hook", "id", "run", "state")

    def __init__(self, hook: Hook, event: StateTransition, run: Run, state: AnyState) -> None:
        self.hook = hook
        self.event = event
        self.run = run
        self.state = state
        self.id: UUID = uuid7()
        self.bus: EventBus = current_bus()
        self.attempt = 0
        self.began = 0.0

    def attempts(self) -> Generator[float, None, None]:
        """Go through the attempts: each yield asks for one, after so many seconds.

        The outcome of an attempt is sent, or thrown, back in.
        """
        delay = 0.0
        while True:
            self.attempt += 1
            try:
                yield delay
            except Exception as error:  # noqa: BLE001 - a hook may do anything
                if not self._failed(error):
                    return
                delay = self.hook.policy.delay(self.attempt)
            except BaseException as error:
                self._failed(error, final=True)
                raise
            else:
                self._publish(HookSucceeded)
                return

    def _failed(self, error: BaseException, *, final: bool = False) -> bool:
        """Log and publish a failed attempt; says whether there will be another."""
        again = not final and self.attempt <= self.hook.policy.retries
        run_logger(self.run).error(
            f"Hook {self.hook.id} failed on {self.state.name}"
            + (f", attempt {self.attempt} of {self.hook.policy.retries + 1}" if again else ""),
            hook=self.hook.id,
            exc_info=error,
        )
        info = ErrorInfo.of(error)
        self._publish(HookFailed, error=info)
        if not again:
            self._publish(HookDeadLettered, error=info)

        return again

    def _publish(self, kind: type[HookOutcome], **more: ErrorInfo) -> None:
        if not self.bus.listens_for(kind):
            return
        event = self.event
        outcome = kind(
            hook=self.hook.id,
            delivery_id=self.id,
            attempt=self.attempt,
            duration=perf_counter() - self.began,
            run_type=event.run_type,
            run_id=event.run_id,
            run_name=event.run_name,
            definition_name=event.definition_name,
            flow_run_id=event.flow_run_id,
            state_name=event.to_state.name,
            follows=event.id,
            **more,
        )
        self.bus.publish(outcome)

    def call(self) -> object:
        """Call the hook's function, within the context of this attempt."""
        token = current_hook.set(HookContext(self.id, self.attempt))
        try:
            return self.hook.fn(self.run.definition, self.run, self.state)
        finally:
            current_hook.reset(token)

    async def acall(self) -> object:
        """Call the hook's function and await what it gives."""
        token = current_hook.set(HookContext(self.id, self.attempt))
        try:
            async with _limit(self.hook):
                result = self.hook.fn(self.run.definition, self.run, self.state)
                return await result if inspect.isawaitable(result) else result
        finally:
            current_hook.reset(token)


class _limit:  # noqa: N801 - used like a function
    """Bounds an async attempt by the hook's own timeout."""

    __slots__ = ("_hook", "_timeout")

    def __init__(self, hook: Hook) -> None:
        self._hook = hook
        self._timeout = asyncio.timeout(hook.timeout_seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *raised: Any) -> None:
        try:
            await self._timeout.__aexit__(*raised)
        except TimeoutError as error:
            if self._timeout.expired():
                raise HookTimeout(self._hook.id, self._hook.timeout_seconds or 0) from error
            raise


class HookReceiver:
    """Receives for a hook: sync code runs it here and now, async code is given it to await."""

    __slots__ = ("hook",)

    def __init__(self, hook: Hook) -> None:
        self.hook = hook

    def receive(self, event: Event) -> None:
        """Run the hook, however it is written, and come back when it has ended."""
        delivery = self._delivery(event)
        if delivery is None:
            return
        attempts = delivery.attempts()
        delay: float | None = next(attempts)
        while delay is not None:
            error: BaseException | None = None
            try:
                _attempt_in_hook_gate(delivery, delay)
            except BaseException as raised:  # noqa: BLE001 - the delivery decides
                error = raised
            delay = _told(attempts, error)

    def areceive(self, event: Event) -> Awaitable[None] | None:
        """Give the running of the hook, to be awaited."""
        delivery = self._delivery(event)
        return None if delivery is None else self._run(delivery)

    async def _run(self, delivery: _Delivery) -> None:
        attempts = delivery.attempts()
        delay: float | None = next(attempts)
        while delay is not None:
            error: BaseException | None = None
            try:
                await _aattempt(delivery, delay)
            except BaseException as raised:  # noqa: BLE001 - the delivery decides
                error = raised
            delay = _told(attempts, error)

    def _delivery(self, event: Event) -> _Delivery | None:
        run = event.run if isinstance(event, StateTransition) else None
        if run is None or run.state is None or not isinstance(event, StateTransition):
            return None

        return _Delivery(self.hook, event, run, run.state)

    def close(self) -> None:
        """Nothing is held."""


def _told(attempts: Generator[float, None, None], error: BaseException | None) -> float | None:
    """Tell a delivery what came of an attempt; gives the delay of the next, None for no more."""
    try:
        return next(attempts) if error is None else attempts.throw(error)
    except StopIteration:
        return None


def _attempt_in_hook_gate(delivery: _Delivery, delay: float) -> None:
    here = gate()
    before = here.inside
    try:
        if before is Inside.ENGINE:
            here.open(Inside.HOOK)
        _attempt(delivery, delay)
    finally:
        here.inside = before


def _attempt(delivery: _Delivery, delay: float) -> None:
    if delay:
        sleep(delay)
    delivery.began = perf_counter()
    if delivery.hook.is_async:
        _finish_on_a_loop(delivery.acall)
    elif delivery.hook.timeout_seconds is not None:
        _in_a_thread(delivery.hook, delivery.call, delivery.hook.timeout_seconds)
    else:
        result = delivery.call()
        if inspect.iscoroutine(result):
            _finish_on_a_loop(lambda: _await(result))


async def _await(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _finish_on_a_loop(make: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Run a coroutine to its end from sync code, whatever loop this thread may be running."""
    if running_loop() is background.loop:
        _in_a_thread(None, lambda: asyncio.run(make()), None)
        return
    future = background.submit(make(), copy_context())
    try:
        future.result()
    except BaseException:
        future.cancel()
        raise


def _in_a_thread(hook: Hook | None, call: Callable[[], object], timeout: float | None) -> None:
    """Call a function in a thread of its own, and leave it alone there if it takes too long."""
    future: Future[object] = Future()
    context = copy_context()

    def work() -> None:
        try:
            future.set_result(context.run(call))
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=work, name="eventflow-hook", daemon=True).start()
    try:
        future.result(timeout)
    except TimeoutError as error:
        if hook is not None and not future.done():
            raise HookTimeout(hook.id, timeout or 0) from error
        raise


async def _aattempt(delivery: _Delivery, delay: float) -> None:
    if delay:
        await asyncio.sleep(delay)
    delivery.began = perf_counter()
    if delivery.hook.is_async:
        await delivery.acall()
    else:
        # A sync hook may block; the loop must not.
        async with _limit(delivery.hook):
            result = await anyio.to_thread.run_sync(_call_out, delivery, abandon_on_cancel=True)
            if inspect.iscoroutine(result):
                await result


def _call_out(delivery: _Delivery) -> object:
    return delivery.call()


def hook(  # noqa: PLR0913 - one keyword for each thing that can be declared
    *,
    run_type: RunType | None = None,
    state: States = None,
    name: str | None = None,
    tags: Iterable[str] | None = None,
    id: str | None = None,  # noqa: A002 - the word for it
    timeout_seconds: float | None = None,
    retries: int = 0,
    retry_delay_seconds: Delays = None,
) -> Callable[[F], F]:
    """Declare a function as a hook of every run that matches, whoever declared the run.

    The function is left as it is; the bus in force calls it with `(definition, run, state)`.

    Raises:
        TypeError: what is decorated is not callable.
    """

    def declare(function: F) -> F:
        declared = Hook(
            function,
            state=state,
            run_type=run_type,
            name=name,
            tags=tags,
            id=id,
            timeout_seconds=timeout_seconds,
            retries=retries,
            retry_delay_seconds=retry_delay_seconds,
        )
        receiver = HookReceiver(declared)
        current_bus().attach(function, receiver, declared.filter(), phase=Phase.HOOK)

        return function

    return declare
