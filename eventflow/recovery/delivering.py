"""Deliver what a dead owner owes: each hook is fetched once the attempt to run it is recorded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple

from eventflow.errors import HookUnavailable
from eventflow.eventbus.bus import EventBus
from eventflow.hooks.declaration import Hook
from eventflow.hooks.delivery import Delivery
from eventflow.hooks.ledger import Attempt, DeliveryStatus, Failure
from eventflow.hooks.sets import Unfetched
from eventflow.journal.recorder import Recorder
from eventflow.journal.rows import RunRow
from eventflow.primitives.texts import is_a
from eventflow.recovery.lookup import Lookup
from eventflow.runs.run import Run, Transition
from eventflow.values.restoring import restore_parameters

__all__ = ["Fetching", "Finished", "Progress", "RecoveredDelivery"]


class Finished(NamedTuple):
    """How many runs entered Crashed; how many deliveries of hooks succeeded, and how many died."""

    crashed: int = 0
    delivered: int = 0
    dead: int = 0


class Progress:
    """What a recovery has done so far; the next one need not do it again if this one is killed.

    `on_change` is called at each attempt of a hook that the journal has, and at each outcome.
    """

    def __init__(self, on_change: Callable[[Finished], object]) -> None:
        self.finished = Finished()
        self._on_change = on_change

    def tell(self) -> None:
        """Tell of what is done so far."""
        self._on_change(self.finished)

    def add(self, crashed: int = 0, delivered: int = 0, dead: int = 0) -> None:
        """Count what was done just now."""
        more = (crashed, delivered, dead)
        self.finished = Finished(*map(sum, zip(self.finished, more, strict=True)))
        self.tell()


class Fetching:
    """What the deliveries of one run need, and how they ended."""

    def __init__(
        self,
        lookup: Lookup,
        recorder: Recorder,
        row: RunRow,
        progress: Progress,
    ) -> None:
        self._progress = progress
        self.lookup = lookup
        self.row = row
        self._recorder = recorder
        self._ledgers: list[_SyncedLedger] = []

    def ledger(self, recorder: Any) -> _SyncedLedger:
        """Return a ledger for one delivery."""
        if isinstance(recorder, _SyncedLedger):
            return recorder
        self._ledgers.append(_SyncedLedger(self._recorder, self._progress))

        return self._ledgers[-1]

    def outcomes(self) -> list[DeliveryStatus]:
        """Return the last status of each delivery."""
        return [ledger.last for ledger in self._ledgers]


class _SyncedLedger:
    """A ledger that commits the start of an attempt first: the attempt may kill this process."""

    def __init__(self, recorder: Recorder, progress: Progress) -> None:
        self._recorder = recorder
        self._progress = progress
        self.last = DeliveryStatus.PENDING

    @property
    def has_workers(self) -> bool:
        """Whether hooks are left to workers."""
        return self._recorder.has_workers

    def settle(self, attempt: Attempt, status: DeliveryStatus, why: Failure | None = None) -> None:
        """Record the start or the outcome of an attempt."""
        self.last = status
        self._recorder.settle(attempt, status, why)
        if status is DeliveryStatus.RUNNING:
            self.flush()
        elif status is DeliveryStatus.DELIVERED:
            self._progress.add(delivered=1)
        elif status is DeliveryStatus.DEAD:
            self._progress.add(dead=1)

    def has_given_up(self, run: Run) -> bool:
        """Return whether another owner has taken the run over from this recovery."""
        return self._recorder.has_given_up(run)

    def flush(self) -> None:
        """Commit all that was recorded."""
        self._recorder.flush()
        self._progress.tell()

    def transaction(self, attempt: Attempt) -> AbstractContextManager[Any]:
        """Return the journal's own transaction, which ends with acknowledging this delivery."""
        return self._recorder.transaction(attempt)


class RecoveredDelivery(Delivery):
    """A delivery whose hook is fetched when its first attempt here begins.

    A file that ends the process while it is loaded uses up an attempt, as a hook that does so.
    """

    __slots__ = ("_fetching",)

    def __init__(
        self, fetching: Fetching, hook: Hook, fact: Transition, ordinal: int, bus: EventBus
    ) -> None:
        super().__init__(hook, fact, ordinal, bus)
        self._fetching = fetching

    def begin(self) -> None:
        """Record the beginning of the next attempt, and fetch what it needs.

        Raises:
            HookUnavailable: the hook cannot be had in this process.
        """
        fetching = self._fetching
        ledger = self.ledger = fetching.ledger(self.ledger)
        if self.is_begun:
            # Recorded with the transition, which is committed first as well.
            ledger.flush()
        super().begin()
        if isinstance(self.hook.fn, Unfetched):
            self.hook = fetching.lookup.fetch(self.hook.fn.recorded)
        definition = self.run.definition = fetching.lookup.definition(fetching.row)
        self.run.parameters = partial(
            restore_parameters,
            *(fetching.row.parameters, fetching.lookup.value, definition.parameters.names),
        )

    def end_attempt(self, error: BaseException | None) -> float | None:
        """Record the outcome of an attempt; return the delay before the next, if there is one."""
        if is_a(error, HookUnavailable):
            self.give_up(error)
            return None

        return super().end_attempt(error)
