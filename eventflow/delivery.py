"""Running one hook for one event: attempts, timeout, isolation, outcome."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator
from time import perf_counter, sleep
from typing import Any, Final, TypeVar
from uuid import UUID

import anyio.to_thread

from eventflow.context import current_hook
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
from eventflow.ids import new_id
from eventflow.logs import run_logger
from eventflow.portal import background, in_thread, running_loop, unpacked
from eventflow.retries import Delays
from eventflow.runs import Run, RunType, Transition
from eventflow.states import AnyState, ErrorInfo
from eventflow.subscriptions import Phase

__all__ = ["HookReceiver", "hook"]

F = TypeVar("F", bound=HookFunction)

# Python 3.11 looks a member up by calling Python code, which is too slow for every hook.
_ENGINE: Final = Inside.ENGINE
_HOOK: Final = Inside.HOOK


class _Delivery:
    """One hook owed one event."""

    __slots__ = ("_id", "attempt", "began", "bus", "follows", "hook", "run", "state")

    def __init__(self, hook: Hook, run: Run, state: AnyState, follows: UUID) -> None:
        self.hook = hook
        self.run = run
        self.state = state
        self.follows = follows
        self.bus: EventBus = current_bus()
        self.attempt = 0
        self.began = 0.0
        self._id: UUID | None = None

    @property
    def delivery_id(self) -> UUID:
        """The id of this delivery; made when it is first asked for."""
        if self._id is None:
            self._id = new_id()

        return self._id

    def attempts(self) -> Generator[float, None, None]:
        """Go through the attempts: each yield asks for one, after so many seconds.

        The outcome of an attempt is sent, or thrown, back in.
        """
        delay = 0.0
        while True:
            self.attempt += 1
            try:
                yield delay
            except BaseException as error:
                passes = not isinstance(error, Exception) and not _is_own(error)
                again = self._failed(error, final=passes)
                if passes:
                    raise
                if not again:
                    return
                delay = self.hook.policy.delay(self.attempt)
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

    def _publish(self, kind: type[HookOutcome], **more: Any) -> None:
        if not self.bus.listens_for(kind):
            return
        run = self.run
        outcome = kind(
            hook=self.hook.id,
            delivery_id=self.delivery_id,
            attempt=self.attempt,
            duration=perf_counter() - self.began,
            run_type=run.run_type,
            run_id=run.id,
            run_name=run.name,
            definition_name=run.definition_name,
            flow_run_id=run.flow_run_id,
            state_name=self.state.name,
            follows=self.follows,
            **more,
        )
        self.bus.publish(outcome)

    @contextlib.contextmanager
    def _in_force(self) -> Iterator[None]:
        token = current_hook.set(self)
        try:
            yield
        finally:
            current_hook.reset(token)

    def call(self) -> object:
        """Call the hook's function within the context of this attempt; gives what it gives."""
        token = current_hook.set(self)
        try:
            return self.hook.fn(self.run.definition, self.run, self.state)
        finally:
            current_hook.reset(token)

    def call_to_the_end(self) -> None:
        """Call the hook's function from sync code; what it leaves to be awaited is awaited."""
        result = self.call()
        if inspect.iscoroutine(result):
            background.run(self.finish(result))

    async def acall(self) -> None:
        """Call the hook's function on an event loop and await what it gives."""
        with self._in_force():
            async with self.limit():
                result = self.hook.fn(self.run.definition, self.run, self.state)
                if inspect.isawaitable(result):
                    await result

    async def finish(self, left: Awaitable[object]) -> None:
        """Await what a plain function gave, as if it were part of it."""
        with self._in_force():
            async with self.limit():
                await left

    @contextlib.asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """Bound what is awaited by the hook's own timeout.

        Raises:
            HookTimeout: it took longer.
        """
        seconds = self.hook.timeout_seconds
        if seconds is None:
            yield
            return
        timeout = asyncio.timeout(seconds)
        try:
            async with timeout:
                yield
        except TimeoutError as error:
            if timeout.expired():
                raise HookTimeout(self.hook.id, seconds) from error
            raise


def _is_own(error: BaseException) -> bool:
    """Say whether a cancellation comes from within the hook, which has only failed by it."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    task = None if running_loop() is None else asyncio.current_task()

    return task is None or not task.cancelling()


class HookReceiver:
    """Receives for a hook: sync code runs it here and now, async code is given it to await."""

    __slots__ = ("hook",)

    def __init__(self, hook: Hook) -> None:
        self.hook = hook

    def receive(self, event: Event | Transition) -> None:
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

    def areceive(self, event: Event | Transition) -> Awaitable[None] | None:
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

    def _delivery(self, event: Event | Transition) -> _Delivery | None:
        if isinstance(event, Transition):
            return _Delivery(self.hook, event.run, event.to_state, event.to_state.id)
        # Published again by hand: a hook can be run for it while there is the live run.
        run = event.run if isinstance(event, StateTransition) else None
        if run is None or run.state is None:
            return None

        return _Delivery(self.hook, run, run.state, event.id)

    def end(self) -> None:
        """Nothing is held."""

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
    before, bodies = here.inside, here.bodies
    try:
        if before is _ENGINE:
            # A signal that came before waits on: it must not take the place of the hook. And what
            # stops the bodies around the run is none of the hook's business.
            here.inside, here.bodies = _HOOK, []
        _attempt(delivery, delay)
    finally:
        here.inside, here.bodies = before, bodies


def _attempt(delivery: _Delivery, delay: float) -> None:
    if delay:
        sleep(delay)
    delivery.began = perf_counter()
    hook = delivery.hook
    if hook.is_async:
        background.run(delivery.acall())
    elif hook.timeout_seconds is None:
        delivery.call_to_the_end()
    else:
        # Left alone in its thread if it takes too long: nothing can stop it there.
        future = in_thread(delivery.call_to_the_end)
        try:
            outcome = future.result(hook.timeout_seconds)
        except TimeoutError:
            raise HookTimeout(hook.id, hook.timeout_seconds) from None
        unpacked(outcome)


async def _aattempt(delivery: _Delivery, delay: float) -> None:
    if delay:
        await asyncio.sleep(delay)
    delivery.began = perf_counter()
    if delivery.hook.is_async:
        await delivery.acall()
        return
    # A sync hook may block; the loop must not.
    if delivery.hook.timeout_seconds is None:
        result = await anyio.to_thread.run_sync(delivery.call, abandon_on_cancel=True)
    else:
        # Not a thread of the pool: one that is never given back would keep the process alive.
        async with delivery.limit():
            result = unpacked(await asyncio.wrap_future(in_thread(delivery.call)))
    if inspect.iscoroutine(result):
        await delivery.finish(result)


def hook(
    *,
    run_type: RunType | None = None,
    state: States = None,
    name: str | None = None,
    tags: Iterable[str] | None = None,
    id: str | None = None,
    timeout_seconds: float | None = None,
    retries: int = 0,
    retry_delay_seconds: Delays = None,
) -> Callable[[F], F]:
    """Declare a function as a hook of every run that matches, whoever declared the run.

    The function is left as it is; the bus in force calls it with `(definition, run, state)`.

    `run_type`, `state`, `name` (a pattern) and `tags` select the runs and their transitions; the
    others are those of `Hook`.

    Raises:
        TypeError: what is decorated is not callable, or an option is of a wrong type.
        ValueError: an option has a wrong value.
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
