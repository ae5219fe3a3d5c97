"""One hook owed one event: its attempts, what each came to, and who is told of it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Any, Final
from uuid import UUID

from eventflow.context import current_hook
from eventflow.errors import HookTimeout, JournalError, TerminationSignal
from eventflow.eventbus.bus import EventBus, current_bus
from eventflow.events import HookDeadLettered, HookFailed, HookOutcome, HookSucceeded, fact
from eventflow.hooks.declaration import Hook
from eventflow.hooks.ledger import DEAD, DELIVERED, FAILED, RUNNING, DeliveryStatus, Ledger
from eventflow.interrupts.portals import background, running_loop
from eventflow.interrupts.scopes import Interrupted
from eventflow.logs import run_logger
from eventflow.primitives.ids import delivery_id
from eventflow.runs.run import Run
from eventflow.states import AnyState, ErrorInfo

__all__ = ["Delivery"]


_INTERRUPTS: Final = (
    *(KeyboardInterrupt, TerminationSignal, Interrupted),
    *(asyncio.CancelledError, GeneratorExit),
)


class Delivery:
    """One hook owed one event."""

    __slots__ = (
        "at_most",
        "attempt",
        "began",
        "bus",
        "follows",
        "hook",
        "is_counted",
        "ledger",
        "ordinal",
        "run",
        "state",
    )

    def __init__(self, hook: Hook, run: Run, state: AnyState, event_id: UUID) -> None:
        self.hook = hook
        self.run = run
        self.state = state
        self.follows = event_id
        self.ordinal = 0
        self.ledger: Ledger | None = None
        self.is_counted = False
        self.at_most = hook.policy.retries + 1
        self.bus: EventBus = current_bus()
        self.attempt = 0
        self.began = 0.0

    @property
    def delivery_id(self) -> UUID:
        """The id of this delivery: always the same for this hook and this event."""
        return delivery_id(self.follows, self.ordinal)

    def begin(self) -> None:
        """Say that the next attempt begins, before it does."""
        self.began = perf_counter()
        if self.is_counted:
            self.is_counted = False
        else:
            self._settle(RUNNING)

    def _settle(self, status: DeliveryStatus, error: str | None = None, delay: float = 0.0) -> None:
        if self.ledger is not None:
            self.ledger.settle(self._key, status, self.attempt, error, delay)

    @property
    def _key(self) -> tuple[UUID, UUID, int]:
        return (self.run.id, self.follows, self.ordinal)

    def transaction(self) -> AbstractContextManager[Any]:
        """Give the journal's own transaction, committed with the acknowledgement of the hook.

        Raises:
            JournalError: nothing is journalled, or the hook is acknowledged already.
        """
        if self.ledger is None:
            raise JournalError(
                f"The hook {self.hook.id} asked for a transaction of the journal, but nothing is "
                "journalled here: EVENTFLOW_DURABILITY is off."
            )

        return self.ledger.transaction(self._key, self.attempt)

    def ended(self, error: BaseException | None) -> float | None:
        """Note what an attempt came to; gives in how many seconds the next is to begin, if any.

        Raises:
            BaseException: the error, if it is more than the failure of a hook.
        """
        if error is None:
            if self.ledger is not None:
                # While the body is still to execute, a death is to be reckoned with.
                over = self.run.ended_at is not None
                self.ledger.settle(self._key, DELIVERED, self.attempt, at_once=not over)
            self._publish(HookSucceeded)
            return None
        passes = not isinstance(error, Exception) and not _is_own(error)
        again = self._failed(error, final=passes)
        if passes:
            raise error

        return self.hook.policy.delay(self.attempt) if again else None

    def give_up(self) -> None:
        """Leave it at the attempts there were, none of which came to its end."""
        reason = f"Given up: the process ended in each of {self.attempt} attempts."
        run_logger(self.run).error(f"Hook {self.hook.id}: {reason}", hook=self.hook.id)
        self._settle(DEAD, reason)
        info = ErrorInfo.told("eventflow.GivenUp", reason)
        self._publish(HookDeadLettered, error=info)

    def _failed(self, error: BaseException, *, final: bool = False) -> bool:
        """Log and publish a failed attempt; says whether there will be another."""
        again = not final and self.attempt < self.at_most
        # What interrupted the process is no fault of the hook's: another process will finish it.
        left = final and self.ledger is not None and isinstance(error, _INTERRUPTS)
        run_logger(self.run).error(
            f"Hook {self.hook.id} failed on {self.state.name}"
            + (f", attempt {self.attempt} of {self.at_most}" if again else ""),
            hook=self.hook.id,
            exc_info=error,
        )
        info = ErrorInfo.of(error)
        delay = self.hook.policy.delay(self.attempt) if again else 0.0
        self._settle(FAILED if again or left else DEAD, str(info), delay)
        self._publish(HookFailed, error=info)
        if not again and not left:
            self._publish(HookDeadLettered, error=info)

        return again

    def _publish(self, kind: type[HookOutcome], **more: Any) -> None:
        if not self.bus.listens_for(kind):
            return
        run = self.run
        # Not validated: it may be of the end of all files that this tells.
        outcome = fact(
            kind,
            self.follows,
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
        token = current_hook.set(self)
        try:
            result = self.hook.fn(self.run.definition, self.run, self.state)
            if inspect.isawaitable(result):
                await self._limited(result)
        finally:
            current_hook.reset(token)

    async def finish(self, left: Awaitable[object]) -> None:
        """Await what a plain function gave, as if it were part of it."""
        with self._in_force():
            await self._limited(left)

    def _limited(self, left: Awaitable[object]) -> Awaitable[object]:
        return left if self.hook.timeout_seconds is None else self._within_limit(left)

    async def _within_limit(self, left: Awaitable[object]) -> None:
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
