"""The delivery of one event to one hook: its attempts and their outcomes."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Any, ClassVar, Final
from uuid import UUID

from eventflow.context import ActiveRun, current_hook
from eventflow.errors import HookTimeout, HookUnavailable, JournalError, TerminationSignal
from eventflow.eventbus.bus import EventBus
from eventflow.eventbus.publication import fact
from eventflow.events import HookDeadLettered, HookFailed, HookOutcome, HookSucceeded
from eventflow.hooks.configured import NotRetried
from eventflow.hooks.declaration import Hook
from eventflow.hooks.ledger import DEAD, DELIVERED, FAILED, RUNNING, DeliveryStatus, Failure, Ledger
from eventflow.interrupts.masks import Interrupted
from eventflow.interrupts.portals import background_portal, running_loop
from eventflow.interrupts.scopes import inherited_runs
from eventflow.logs import run_logger
from eventflow.primitives.escapes import one_line
from eventflow.primitives.forks import renewed
from eventflow.primitives.ids import delivery_id
from eventflow.primitives.texts import is_a
from eventflow.primitives.tracebacks import origin
from eventflow.runners.threads import default
from eventflow.runs.run import Run, Transition
from eventflow.runs.task_scope import TaskScope
from eventflow.states.records import ErrorInfo

__all__ = ["Delivery", "is_given_up"]


# Several tasks that a hook has called may submit its first ones at once.
_lock = threading.Lock()
renewed(globals(), "_lock", threading.Lock)

_INTERRUPTS: Final = (
    *(KeyboardInterrupt, TerminationSignal, Interrupted),
    *(asyncio.CancelledError, GeneratorExit),
)
"""What interrupts the process in the middle of a hook."""


def is_given_up(run: Run, ledger: Ledger | None) -> bool:
    """Return whether another process runs the hooks of a run: the parent, or another owner."""
    if inherited_runs and run.number in inherited_runs:
        return True

    return ledger is not None and ledger.has_given_up(run)


class Delivery:
    """One hook owed one transition.

    `fact` is the transition, `sequence` its number, `ordinal` the hook's place among those that are
    owed it, `bus` where the outcomes are published. If `is_begun`, the beginning of the first
    attempt is recorded with the event.
    """

    limit_seconds: ClassVar[float | None] = None
    """How long a hook without a timeout of its own may take; only a recovery has such a limit."""

    __slots__ = (
        "attempt",
        "bus",
        "fact",
        "hook",
        "is_begun",
        "ledger",
        "max_attempts",
        "ordinal",
        "run",
        "scope",
        "sequence",
        "start",
        "state",
    )

    def __init__(self, hook: Hook, fact: Transition, ordinal: int, bus: EventBus) -> None:
        self.hook = hook
        self.fact = fact
        self.run = fact.run
        self.state = fact.entered.state_of(fact.run)
        self.sequence = fact.sequence
        self.ordinal = ordinal
        self.ledger: Ledger | None = fact.journal
        self.is_begun = False
        self.max_attempts = hook.policy.retries + 1
        self.bus = bus
        self.attempt = 0
        self.start = 0.0
        self.scope: TaskScope | None = None

    @property
    def delivery_id(self) -> UUID:
        """The id of this delivery: always the same for this hook and this event."""
        return delivery_id(self.run.number, self.sequence, self.ordinal)

    @property
    def timeout_seconds(self) -> float | None:
        """How long an attempt may take."""
        return self.hook.timeout_seconds or self.limit_seconds

    def timed_out(self) -> HookTimeout:
        """Return the error of an attempt that took longer."""
        is_own = self.hook.timeout_seconds is not None

        return HookTimeout(self.hook.id, self.timeout_seconds or 0, is_own=is_own)

    def begin(self) -> None:
        """Record the beginning of the next attempt."""
        self.start = perf_counter()
        if self.is_begun:
            self.is_begun = False
        else:
            self._settle(RUNNING)

    def _settle(self, status: DeliveryStatus, why: Failure | None = None) -> None:
        if self.ledger is not None:
            self.ledger.settle(self, status, why)

    def transaction(self) -> AbstractContextManager[Any]:
        """Return a transaction of the journal that commits with the hook's acknowledgement.

        Raises:
            JournalError: there is no journal, or the hook is acknowledged already.
        """
        if self.ledger is None:
            raise JournalError(
                f"The hook {self.hook.id} asked for a transaction of the journal, but nothing is "
                "journalled here: EVENTFLOW_DURABILITY is off."
            )

        return self.ledger.transaction(self)

    def scope_within(self, context: ActiveRun | None) -> TaskScope | None:
        """Return the scope of the tasks that the present attempt submits; see `HookContext`."""
        flow_run = None if context is None else context.flow_run
        if (None if flow_run is None else flow_run.flow_run_id) != self.run.flow_run_id:
            return None
        with _lock:
            if self.scope is None:
                around = None if context is None else context.scope
                self.scope = TaskScope(
                    default if around is None else around.runner,
                    running_loop() if self.hook.is_async else None,
                )

            return self.scope

    def end_attempt(self, error: BaseException | None) -> float | None:
        """Record the outcome of an attempt; return the delay before the next, if there is one.

        Raises:
            BaseException: the error, if it is more than the failure of a hook.
        """
        if self.scope is not None:
            # All have ended, unless the attempt took too long.
            self.scope.close()
            self.scope.cancel()
            self.scope = None
        if error is None:
            if self.ledger is not None:
                self.ledger.settle(self, DELIVERED)
            if self.bus.listens_for(HookSucceeded):
                self._publish(HookSucceeded)
            return None
        propagates = not is_a(error, Exception) and not _is_own_cancellation(error)
        is_retried = self._fail(error, final=propagates)
        if propagates:
            raise error

        if not is_retried or is_given_up(self.run, self.ledger):
            return None

        return self.hook.policy.delay(self.attempt)

    def give_up(self, error: HookUnavailable | None = None) -> None:
        """Dead-letter the delivery: its hook is unavailable, or its attempts ended the process."""
        reason = f"Given up: the process ended in each of {self.attempt} attempts."
        info = ErrorInfo.of_texts("eventflow.GivenUp", reason)
        if error is not None:
            reason, info = str(error), ErrorInfo.of(error)
        run_logger(self.run).error(f"Hook {self.hook.id}: {reason}", hook=self.hook.id)
        self._settle(DEAD, Failure(reason))
        self._publish(HookDeadLettered, error=info)

    def _fail(self, error: BaseException, *, final: bool = False) -> bool:
        """Record, log and publish a failed attempt; return whether there will be another."""
        is_retried = self.attempt < self.max_attempts and not (final or is_a(error, NotRetried))
        # An interrupt of the process is not the hook's failure: another process finishes it.
        stays_owed = final and self.ledger is not None and is_a(error, _INTERRUPTS)
        info = ErrorInfo.of(error)
        where = origin(error)
        run_logger(self.run).error(
            f"Hook {self.hook.id} failed on {self.state.name}"
            + (f", attempt {self.attempt} of {self.max_attempts}" if is_retried else "")
            + f": {one_line(str(info))}"
            + (f" ({where})" if where else ""),
            hook=self.hook.id,
            exc_info=error,
        )
        delay = self.hook.policy.delay(self.attempt) if is_retried else 0.0
        self._settle(FAILED if is_retried or stays_owed else DEAD, Failure(str(info), delay))
        self._publish(HookFailed, error=info)
        if not is_retried and not stays_owed:
            self._publish(HookDeadLettered, error=info)

        return is_retried

    def _publish(self, kind: type[HookOutcome], **more: Any) -> None:
        """Publish an outcome, if anybody listens."""
        if not self.bus.listens_for(kind):
            return
        run = self.run
        # Not validated: that opens files, and this may report that there are no more of them.
        outcome = fact(
            kind,
            self.state.id,
            hook=self.hook.id,
            delivery_id=self.delivery_id,
            attempt=self.attempt,
            duration=perf_counter() - self.start,
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
        """Call the hook's function within the context of this attempt; return its result.

        Wait for the tasks that it submitted, unless it returned a coroutine, which goes on.
        """
        token = current_hook.set(self)
        try:
            result = self.hook.fn(self.run.definition, self.run, self.state)
            if self.scope is not None and not inspect.iscoroutine(result):
                self.scope.join()
        except BaseException:
            if self.scope is not None:
                self.scope.close()
                self.scope.cancel()
                self.scope.join()
            raise
        else:
            return result
        finally:
            current_hook.reset(token)

    def call_blocking(self) -> None:
        """Call the hook's function from sync code; a coroutine that it returns is run as well."""
        result = self.call()
        if result is not None and inspect.iscoroutine(result):
            background_portal.run(self.await_result(result))

    async def acall(self) -> None:
        """Call the hook's function on an event loop and await what it returns."""
        token = current_hook.set(self)
        try:
            result = self.hook.fn(self.run.definition, self.run, self.state)
            if inspect.isawaitable(result):
                await self._complete(result)
        finally:
            current_hook.reset(token)

    async def await_result(self, result: Awaitable[object]) -> None:
        """Await what a plain function returned, within the context of this attempt."""
        with self._in_force():
            await self._complete(result)

    async def _complete(self, result: Awaitable[object]) -> None:
        """Await a result, and the tasks that were submitted meanwhile."""
        try:
            await self._limited(result)
            if self.scope is not None:
                await self.scope.ajoin()
        except Exception as error:
            if self.scope is not None and not is_a(error, HookTimeout):
                self.scope.close()
                self.scope.cancel()
                await self.scope.ajoin()
            raise

    def _limited(self, result: Awaitable[object]) -> Awaitable[object]:
        return result if self.timeout_seconds is None else self._within_limit(result)

    async def _within_limit(self, result: Awaitable[object]) -> None:
        async with self.limit():
            await result
            if self.scope is not None:
                await self.scope.ajoin()

    @contextlib.asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """Bound what is awaited by the hook's own timeout.

        Raises:
            HookTimeout: it took longer.
        """
        seconds = self.timeout_seconds
        if seconds is None:
            yield
            return
        timeout = asyncio.timeout(seconds)
        try:
            async with timeout:
                yield
        except TimeoutError as error:
            if timeout.expired():
                raise self.timed_out() from error
            raise


def _is_own_cancellation(error: BaseException) -> bool:
    """Return whether an error is a cancellation from within the hook, which only fails by it."""
    if not is_a(error, asyncio.CancelledError):
        return False
    task = None if running_loop() is None else asyncio.current_task()

    return task is None or not task.cancelling()
