"""Finish the runs of a dead owner: deliver the hooks they owe, then have each run enter Crashed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from time import perf_counter
from typing import Any, Final, NamedTuple
from uuid import UUID

from eventflow.context import ActiveRun, current_run
from eventflow.definitions.definition import Definition
from eventflow.eventbus.bus import current_bus
from eventflow.eventbus.deadlines import report_overdue
from eventflow.eventbus.publication import transition_event
from eventflow.eventbus.subscriptions import Subscription
from eventflow.hooks.declaration import Hook
from eventflow.hooks.ledger import DEAD, DELIVERED, LASTED, OWED, Failure
from eventflow.hooks.receiver import HookReceiver, redeliver
from eventflow.hooks.references import set_reference
from eventflow.hooks.sets import RecordedHook
from eventflow.journal.contract import DeliveryQuery, Fence, RunQuery
from eventflow.journal.recorder import Recorder
from eventflow.journal.rows import DeliveryRow, EventRow, RunRow, state_of, with_unavailable_data
from eventflow.primitives.loggers import get_logger
from eventflow.recovery.delivering import Fetching, Progress, RecoveredDelivery
from eventflow.recovery.lasting import due_deliveries, next_due, timed
from eventflow.recovery.lookup import Lookup, stand_in
from eventflow.reporting import report_end
from eventflow.runs.lazy_states import BuiltState
from eventflow.runs.run import FlowRun, Run, TaskRun, Transition
from eventflow.states import StateType
from eventflow.states.constructors import Crashed
from eventflow.states.state import AnyState
from eventflow.values.recording import RecordedParameters
from eventflow.values.restoring import restore_parameters

__all__ = ["Finisher", "wait_until_due"]

ATTEMPTS: Final = 3
"""How many attempts a delivery has at least before it is dead, however few retries its hook has."""

NO_LIMIT: Final = 1_000_000
"""More deliveries than a run has."""


class _Case(NamedTuple):
    """One run to finish, with the hooks that it is subject to, its events and its deliveries.

    `definition` stands for its own, which is loaded when the first hook needs it.
    """

    row: RunRow
    definition: Definition[Any, Any]
    hooks: list[Hook]
    fetching: Fetching
    context: ActiveRun
    parent_flow_run_id: UUID | None
    events: Mapping[UUID, EventRow]
    deliveries: list[DeliveryRow]

    @property
    def owed(self) -> list[DeliveryRow]:
        """The deliveries that are still owed, in order."""
        return [row for row in self.deliveries if row.status in OWED]

    def due_in(self) -> float:
        """Return the seconds until the first delivery that is owed may be tried again."""
        due = next((row.due for row in self.owed), None)

        return 0.0 if due is None else (due - datetime.now(UTC)).total_seconds()


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

    def _finish(self, case: _Case) -> None:
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

    # -- restoring a run ------------------------------------------------------------------------

    def _case(self, row: RunRow) -> _Case:
        query = DeliveryQuery(run_id=row.id, limit=NO_LIMIT)
        deliveries = self._journal.deliveries(query)
        in_order = self._journal.events(row.id)
        events = {event.id: event for event in in_order}
        parent = None if row.parent_run_id is None else self._journal.run(row.parent_run_id)
        parent_flow_run_id = None if parent is None else parent.flow_run_id
        hooks = self._lookup.hooks(row)
        due = due_deliveries(row, hooks, in_order, deliveries, self._died)
        fetching = Fetching(self._lookup, self._recorder, row, self._progress)
        definition = _with_hooks(row, hooks, fetching)
        state = state_of(events.get(row.state_id) or row)
        run = _restored(row, definition, parent_flow_run_id, state)
        self._recorder.adopt(run, row.sequence, deliveries)
        context = self._context(row, run)
        facts = (context, parent_flow_run_id, events, [*deliveries, *due])

        return _Case(row, definition, hooks, fetching, *facts)

    def _context(self, row: RunRow, run: Run) -> ActiveRun:
        """Return what is in force in the hooks of a run, with the flow run around it."""
        if isinstance(run, FlowRun):
            return ActiveRun(run, run, None)
        flow_row = None if row.flow_run_id is None else self._journal.run(row.flow_run_id)
        if flow_row is None or flow_row.run_type != "flow":
            return ActiveRun(run, None, None)
        flow_run = _restored(flow_row, stand_in(flow_row), None, state_of(flow_row))
        assert isinstance(flow_run, FlowRun)  # noqa: S101 - by its row
        flow_run.parameters = partial(restore_parameters, flow_row.parameters, self._lookup.value)
        find_flow = partial(self._lookup.definition, flow_row)

        return ActiveRun(run, flow_run, None, find_flow=find_flow)

    # -- deliveries -----------------------------------------------------------------------------

    def _deliver(self, case: _Case, owed: DeliveryRow) -> None:
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
        fact = self._fact(case, event)
        fact.journal = ledger
        hook = self._hook(case, fact, owed)
        if hook.overdue_seconds is not None:
            self._report_overdue(fact.run, hook.overdue_seconds)
            # It is given the state that the run is in.
            fact.entered = BuiltState(state_of(case.events.get(case.row.state_id) or case.row))
        wait_until_due(hook, owed)
        with _in_context(case, fact.run), _errors_logged(owed.hook):
            redeliver(
                *(hook, fact, owed.ordinal, owed.attempts, _max_attempts(hook)),
                kind=partial(RecoveredDelivery, case.fetching),
            )

    def _report_overdue(self, run: Run, seconds: float) -> None:
        if (run.id, seconds) not in self._overdue:
            self._overdue.add((run.id, seconds))
            report_overdue(run, seconds)

    def _fact(self, case: _Case, event: EventRow) -> Transition:
        """Restore an earlier transition, with the run as it was then."""
        row = case.row
        last = event.id == row.state_id
        row_then = row._replace(
            run_count=event.run_count,
            sequence=event.sequence,
            started=row.started if event.run_count else None,
            ended=row.ended if last else None,
        )
        run = _restored(row_then, case.definition, case.parent_flow_run_id, state_of(event))
        run.encoder = case.context.run.encoder

        return Transition.past(run, event.follows)

    def _hook(self, case: _Case, fact: Transition, owed: DeliveryRow) -> Hook:
        """Return the hook that is owed: that at its place among those that select the event."""
        event = transition_event(fact)
        first = LASTED if owed.ordinal >= LASTED else 0
        others = [hook for hook in case.hooks if hook.filter().lasting is None]
        selecting = timed(case.hooks) if first else [h for h in others if h.filter().admits(event)]
        at_place = selecting[owed.ordinal - first : owed.ordinal - first + 1]
        if at_place and at_place[0].id == owed.hook:
            return at_place[0]

        # Hooks were declared or cancelled since.
        return self._lookup.owed(owed.hook, selecting)

    def _crash(self, case: _Case) -> None:
        run = case.context.run
        fact = run.enter(Crashed(message=self._message))
        self._lookup.withdraw_global_hooks()
        self._progress.add(crashed=1)
        if run.parent_run_id is None:
            # The runs below it have the same end.
            report_end(run, current_bus())
        with _in_context(case, run), _errors_logged("a hook"):
            current_bus().publish_transition(fact)


def _with_hooks(row: RunRow, hooks: list[Hook], fetching: Fetching) -> Definition[Any, Any]:
    """Make a stand-in for a run's definition, whose hooks are fetched when they are called."""
    definition = stand_in(row)
    set_reference(definition, row.reference)
    kind = partial(RecoveredDelivery, fetching)
    definition.declared = tuple(
        Subscription(hook.fn, HookReceiver(hook, kind), hook.filter(), serial=0, hook=hook)
        for hook in hooks
    )

    return definition


def _restored(
    row: RunRow, definition: Definition[Any, Any], parent_flow_run_id: UUID | None, state: AnyState
) -> Run:
    """Restore a run; its parameters have only their record until a hook needs them."""
    parameters = RecordedParameters()
    parameters.text = row.parameters
    kind = FlowRun if row.run_type == "flow" else TaskRun
    facts: dict[str, object] = {
        "number": row.id.int,
        "name": row.name,
        "tag_set": frozenset(row.tags),
        "parameters": parameters,
        "parent_run_id": row.parent_run_id,
        "flow_run_id": row.flow_run_id,
        "root_flow_run_id": row.root_flow_run_id,
        "created_at": row.created,
        "started_at": row.started,
        "ended_at": row.ended,
        "run_count": row.run_count,
        "transitions": row.sequence + 1,
        "_seconds": row.seconds,
        "_running_since": _running_since(row),
    }
    if kind is FlowRun:
        facts["parent_flow_run_id"] = parent_flow_run_id

    return kind.restored(definition, row.definition, with_unavailable_data(state), facts)


def _running_since(row: RunRow) -> float | None:
    """Return since when a run is Running, by the clock of run times; None if it is not."""
    if row.ended is not None or row.state_type is not StateType.RUNNING:
        return None

    # Not later than now: the clock may have been set back.
    return perf_counter() - max(0.0, (datetime.now(UTC) - row.state_at).total_seconds())


def _max_attempts(hook: Hook) -> int:
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
def _in_context(case: _Case, run: Run) -> Iterator[None]:
    """Make the run the current one for loggers and `runtime` within the block."""
    context = case.context
    flow_run = run if isinstance(run, FlowRun) else context.flow_run
    token = current_run.set(context._replace(run=run, flow_run=flow_run))
    try:
        yield
    finally:
        current_run.reset(token)


@contextmanager
def _errors_logged(what: str) -> Iterator[None]:
    """Log whatever a hook or a listener raises, and go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - the other hooks still have to run
        get_logger("recovery").error(f"{what} raised what is no failure", exc_info=error)
