"""Finish the runs of a dead owner: deliver the hooks they owe, then have each run enter Crashed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID

from eventflow.eventbus.bus import current_bus
from eventflow.eventbus.deadlines import report_overdue
from eventflow.hooks.declaration import Hook
from eventflow.hooks.ledger import DEAD, DELIVERED, LASTED, OWED, Failure
from eventflow.hooks.receiver import redeliver
from eventflow.hooks.sets import RecordedHook
from eventflow.journal.contract import Fence, RunQuery
from eventflow.journal.recorder import Recorder
from eventflow.journal.rows import DeliveryRow, RunRow, state_of
from eventflow.primitives.loggers import get_logger
from eventflow.recovery.delivering import Fetching, Progress, RecoveredDelivery
from eventflow.recovery.lasting import due_deliveries, next_due
from eventflow.recovery.lookup import Lookup
from eventflow.recovery.restoring import Case, Restorer, in_context
from eventflow.reporting import report_end
from eventflow.runs.lazy_states import BuiltState
from eventflow.runs.run import Run
from eventflow.states.constructors import Crashed

__all__ = ["Finisher", "errors_logged", "max_attempts", "wait_until_due"]

ATTEMPTS: Final = 3
"""How many attempts a delivery has at least before it is dead, however few retries its hook has."""

NO_LIMIT: Final = 1_000_000
"""More deliveries than a run has."""


class _LostDelivery(NamedTuple):
    """A delivery of an event that is not known, as an `Attempt` to settle."""

    run: Run
    sequence: int
    ordinal: int
    hook: Hook
    attempt: int


class Finisher:
    """Finishes runs in the name of the recorder's owner, which must be their keeper.

    `message` is that of their Crashed state. `progress` is told of what is done. What was due
    before `died` because a state lasted is delivered.
    """

    def __init__(
        self,
        recorder: Recorder,
        lookup: Lookup,
        message: str,
        progress: Progress,
        died: datetime,
    ) -> None:
        self._progress = progress
        self._died = died
        self._recorder = recorder
        self._journal = recorder.journal
        self._lookup = lookup
        self._restorer = Restorer(recorder.journal, lookup)
        self._message = message
        # The runs of which it was said after how many seconds.
        self._overdue: set[tuple[UUID, float]] = set()

    def finish(self, fence: Fence, owner: str) -> None:
        """Claim and finish all runs of an owner that no living owner keeps.

        Raises:
            JournalError: the journal cannot be read, or the fence is no longer in force.
        """
        rows: list[RunRow] = []
        while claimed := self._journal.claim(fence, owner=owner):
            rows += claimed

        self._finish_all(rows)

    def _finish_all(self, rows: Iterable[RunRow]) -> None:
        """Finish runs, children first; those that wait for a retry come last."""
        cases = [self._case(row) for row in sorted(rows, key=lambda row: row.id, reverse=True)]
        guarding = self._recorder.sink.guarding
        if guarding is not None and any(case.hooks or case.owed for case in cases):
            # Goes on if this process is killed, by one of the hooks for example.
            guarding.guard()
        for case in sorted(cases, key=lambda case: case.due_in() > 0):
            self._finish(case)

    def _finish(self, case: Case) -> None:
        row = case.row
        for owed in case.owed:
            self._deliver(case, owed)
        outcomes = case.fetching.outcomes()
        if row.ended is None:
            self._crash(case)
            outcomes = case.fetching.outcomes()
        elif not any(status in OWED for status in outcomes):
            # What its record says of them is behind what the deliveries say themselves.
            self._recorder.acknowledge_all(case.context.run)
        delivered = outcomes.count(DELIVERED)
        get_logger("recovery").debug(
            f"The {row.run_type} run {row.name!r} of {row.definition}: "
            + ("Crashed" if row.ended is None else row.state_name)
            + (f", {delivered} of {len(outcomes)} hooks delivered" if outcomes else ""),
            run_id=str(row.id),
        )

    def deliver_due(self, owner: str, claim: Callable[[DeliveryRow], bool]) -> None:
        """Deliver what is due because a state lasts, of the runs of a living owner.

        As far as `claim` says that nobody else does.
        """
        for row in self._journal.runs(RunQuery(keeper=owner, unfinished=True, limit=NO_LIMIT)):
            at = next_due(row, self._lookup.hooks(row))
            if at is None or at > self._died:
                continue
            case = self._case(row)
            for owed in case.owed:
                if owed.ordinal >= LASTED and claim(owed):
                    self._deliver(case, owed)

    def next_due(self, owner: str) -> datetime | None:
        """Return when something will be due next because a state lasts; None if nothing will."""
        rows = self._journal.runs(RunQuery(keeper=owner, unfinished=True, limit=NO_LIMIT))
        moments = (next_due(row, self._lookup.hooks(row), self._died) for row in rows)

        return min((each for each in moments if each is not None), default=None)

    def _case(self, row: RunRow) -> Case:
        case = self._restorer.case(row, Fetching(self._lookup, self._recorder, row, self._progress))
        self._recorder.adopt(case.context.run, row.sequence, case.deliveries)
        due = due_deliveries(row, case.hooks, [*case.events.values()], case.deliveries, self._died)

        return case._replace(deliveries=[*case.deliveries, *due])

    # -- deliveries -----------------------------------------------------------------------------

    def _deliver(self, case: Case, owed: DeliveryRow) -> None:
        """Make the remaining attempts of one delivery."""
        ledger = case.fetching.ledger(self._recorder)
        event = case.events.get(owed.event_id)
        if event is None:
            lost = _LostDelivery(
                case.context.run,
                owed.sequence,
                owed.ordinal,
                RecordedHook(owed.hook).unfetched(),
                owed.attempts,
            )
            ledger.settle(lost, DEAD, Failure("its event is not known"))
            return
        fact = self._restorer.fact(case, event)
        fact.journal = ledger
        hook = self._restorer.hook(case, fact, owed)
        if hook.overdue_seconds is not None:
            self._report_overdue(fact.run, hook.overdue_seconds)
            # It is given the state that the run is in.
            fact.entered = BuiltState(state_of(case.events.get(case.row.state_id) or case.row))
        wait_until_due(hook, owed)
        with in_context(case, fact.run), errors_logged(owed.hook):
            redeliver(
                *(hook, fact, owed.ordinal, owed.attempts, max_attempts(hook)),
                kind=partial(RecoveredDelivery, case.fetching),
            )

    def _report_overdue(self, run: Run, seconds: float) -> None:
        if (run.id, seconds) not in self._overdue:
            self._overdue.add((run.id, seconds))
            report_overdue(run, seconds)

    def _crash(self, case: Case) -> None:
        run = case.context.run
        fact = run.enter(Crashed(message=self._message))
        self._lookup.withdraw_global_hooks()
        self._progress.add(crashed=1)
        if run.parent_run_id is None:
            # The runs below it have the same end.
            report_end(run, current_bus())
        with in_context(case, run), errors_logged("a hook"):
            current_bus().publish_transition(fact)


def max_attempts(hook: Hook) -> int:
    """Return how many attempts a delivery has, those of dead processes included."""
    return max(ATTEMPTS, hook.policy.retries + 1)


def wait_until_due(
    hook: Hook, owed: DeliveryRow, sleep: Callable[[float], object] = time.sleep
) -> None:
    """Wait until the next attempt of a delivery may begin."""
    if owed.due is not None:
        seconds = (owed.due - datetime.now(UTC)).total_seconds()
        # At most the hook's own delay: the clock may have been set back.
        sleep(max(0.0, min(seconds, hook.policy.delay(max(1, owed.attempts)))))


@contextmanager
def errors_logged(what: str) -> Iterator[None]:
    """Log whatever a hook or a listener raises, and go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - the other hooks still have to run
        get_logger("recovery").error(f"{what} raised what is no failure", exc_info=error)
