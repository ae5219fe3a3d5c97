"""Delivering what a worker has claimed: a recovered run, its hook, and a ledger under the claim."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final
from uuid import UUID

from eventflow.errors import JournalError
from eventflow.hooks.ledger import DEAD, DELIVERED, PENDING, Attempt, DeliveryStatus, Failure
from eventflow.hooks.receiver import redeliver
from eventflow.journal.claims import Claim, ClaimLostError, Outcome
from eventflow.journal.contract import Journal, UnstorableError
from eventflow.journal.deliveries import settled_of
from eventflow.journal.encoder import cut
from eventflow.journal.recorder import Recorder
from eventflow.journal.rows import DeliveryRow, OwnerRow, RunRow
from eventflow.primitives.loggers import get_logger
from eventflow.primitives.texts import is_a, printable
from eventflow.recovery.delivering import Fetching, Progress, RecoveredDelivery
from eventflow.recovery.finishing import errors_logged, max_attempts
from eventflow.recovery.lookup import Lookup
from eventflow.recovery.reloading.loading import Reloader
from eventflow.recovery.restoring import Case, Restorer, in_context
from eventflow.runs.run import Run

__all__ = ["ClaimLedger", "Deliverer"]

FIRST_PAUSE_SECONDS: Final = 0.05
"""The first pause before a journal is tried again that cannot be used; each is twice the last."""

LONGEST_PAUSE_SECONDS: Final = 1.0
"""The longest of these pauses."""


class ClaimLedger:
    """Records the outcome of one delivery under a claim, at once; waits for a journal that fails.

    `status` is the last one that was recorded, `error` its error. Once the claim is lost, nothing
    is recorded any more.
    """

    has_workers = True

    def __init__(self, journal: Journal, claim: Claim) -> None:
        self._journal = journal
        self._claim = claim
        self.is_lost = False
        self.status = PENDING
        self.error: str | None = None

    def settle(self, attempt: Attempt, status: DeliveryStatus, why: Failure | None = None) -> None:
        """Record the beginning or the outcome of an attempt.

        Raises:
            ClaimLostError: the lease of the claim is over.
        """
        failure = Failure("") if why is None else why
        self.settle_at(attempt.sequence, attempt.ordinal, status, attempt.attempt, failure)

    def settle_at(
        self, sequence: int, ordinal: int, status: DeliveryStatus, attempts: int, why: Failure
    ) -> None:
        """Record it of a delivery that is known by its place only; as `settle`."""
        if self.status is DELIVERED:
            # By a transaction of the hook's own: whatever it has raised since.
            return
        error = cut(printable(why.error)) or None
        outcome = Outcome(sequence, ordinal, status, attempts, error, why.delay)
        try:
            _once_it_answers(partial(self._journal.settle_claimed, self._claim, outcome))
        except ClaimLostError:
            self.is_lost = True
            raise
        self.status, self.error = status, error

    def has_given_up(self, run: Run) -> bool:  # noqa: ARG002 - of a ledger
        """Return whether another worker has the run."""
        return self.is_lost

    def flush(self) -> None:
        """Do nothing: all is written at once."""

    @contextmanager
    def transaction(self, attempt: Attempt) -> Iterator[Any]:
        """Yield a connection whose transaction commits with the acknowledgement.

        Raises:
            ClaimLostError: the lease of the claim is over; nothing was written.
            JournalError: the hook is acknowledged already; nothing was written.
        """
        settled = settled_of(attempt, DELIVERED, time.time_ns() // 1000)
        with self._journal.transaction(settled, self._claim) as connection:
            yield connection
        self.status = DELIVERED


def _once_it_answers(work: Callable[[], object]) -> None:
    """Write what must not be lost, as soon as the journal can be written."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            work()
        except (ClaimLostError, UnstorableError):
            raise
        except JournalError as error:
            if pause == FIRST_PAUSE_SECONDS:
                get_logger("workers").warning(f"{error} The worker waits until it can be used.")
        else:
            return
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


class _ClaimedFetching(Fetching):
    """What the delivery of a claim needs; there is one ledger."""

    def __init__(
        self, lookup: Lookup, recorder: Recorder, row: RunRow, ledger: ClaimLedger
    ) -> None:
        super().__init__(lookup, recorder, row, Progress(lambda _: None))
        self._claimed = ledger

    def ledger(self, recorder: Any) -> Any:  # noqa: ARG002 - the same for all
        """Return the ledger of the claim."""
        return self._claimed


class _ClaimedDelivery(RecoveredDelivery):
    """A delivery with one attempt: the claim ends with it, and any worker may make the next."""

    __slots__ = ()

    def begin(self) -> None:
        """Record the beginning of the attempt, and fetch what it needs."""
        super().begin()
        # Those that ended their process count as attempts, but not as failures of the hook.
        self.max_attempts = self.hook.policy.retries + 1

    def end_attempt(self, error: BaseException | None) -> float | None:
        """Record the outcome of the attempt, unless the claim is lost; there is no next one."""
        try:
            if is_a(error, ClaimLostError):
                raise error
            super().end_attempt(error)
        except ClaimLostError as lost:
            get_logger("workers").warning(f"Hook {self.hook.id}: {lost}")

        return None


class Deliverer:
    """Makes claimed deliveries in a process that is set up as the owner of their runs was."""

    def __init__(self, recorder: Recorder, owner: OwnerRow) -> None:
        self._recorder = recorder
        self._journal = recorder.journal
        self._reloader = Reloader(owner)

    def deliver(self, claim: Claim, delivery_id: UUID) -> ClaimLedger:
        """Make the next attempt of a delivery; return the ledger that has its outcome.

        Raises:
            JournalError: the journal cannot be read.
        """
        ledger = ClaimLedger(self._journal, claim)
        row = self._journal.run(claim.run_id)
        if row is None:
            raise JournalError(f"The journal has no run {claim.run_id} any more.")
        # Anew each time: an owner that is alive records further sets of hooks.
        lookup = Lookup(self._journal.hook_sets(row.owner), self._reloader, {})
        fetching = _ClaimedFetching(lookup, self._recorder, row, ledger)
        restorer = Restorer(self._journal, lookup)
        case = restorer.case(row, fetching)
        owed = next((each for each in case.deliveries if each.id == delivery_id), None)
        if owed is not None:
            self._deliver(restorer, case, owed, ledger)

        return ledger

    @staticmethod
    def _deliver(restorer: Restorer, case: Case, owed: DeliveryRow, ledger: ClaimLedger) -> None:
        event = case.events.get(owed.event_id)
        if event is None:
            why = Failure("its event is not known")
            ledger.settle_at(owed.sequence, owed.ordinal, DEAD, owed.attempts, why)
            return
        fact = restorer.fact(case, event)
        fact.journal = ledger
        hook = restorer.hook(case, fact, owed)
        with in_context(case, fact.run), errors_logged(owed.hook):
            redeliver(
                *(hook, fact, owed.ordinal, owed.attempts, max_attempts(hook)),
                kind=partial(_ClaimedDelivery, case.fetching),
            )
