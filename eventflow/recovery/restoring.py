"""Restore the runs of another process for their hooks: the run, its states, what is in force."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from time import perf_counter
from typing import Any, Final, NamedTuple
from uuid import UUID

from eventflow.context import ActiveRun, current_run
from eventflow.definitions.definition import Definition
from eventflow.eventbus.publication import transition_event
from eventflow.eventbus.subscriptions import Subscription
from eventflow.hooks.declaration import Hook
from eventflow.hooks.ledger import LASTED, OWED, WORKERS
from eventflow.hooks.receiver import HookReceiver
from eventflow.hooks.references import set_reference
from eventflow.journal.contract import DeliveryQuery, Journal
from eventflow.journal.rows import DeliveryRow, EventRow, RunRow, state_of, with_unavailable_data
from eventflow.recovery.delivering import Fetching, RecoveredDelivery
from eventflow.recovery.lasting import timed
from eventflow.recovery.lookup import Lookup, stand_in
from eventflow.runs.lazy_states import BuiltState
from eventflow.runs.run import FlowRun, Run, TaskRun, Transition
from eventflow.states import StateType
from eventflow.states.state import AnyState
from eventflow.values.recording import RecordedParameters
from eventflow.values.restoring import restore_parameters

__all__ = ["Case", "Restorer", "in_context"]

NO_LIMIT: Final = 1_000_000
"""More deliveries than a run has."""


class Case(NamedTuple):
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
        """The deliveries that are still owed, in order, without those that workers make."""
        return [each for each in self.deliveries if each.status in OWED and not each.is_workers]

    def due_in(self) -> float:
        """Return the seconds until the first delivery that is owed may be tried again."""
        due = next((row.due for row in self.owed), None)

        return 0.0 if due is None else (due - datetime.now(UTC)).total_seconds()


class Restorer:
    """Restores runs from a journal; `lookup` has their hooks and their definitions."""

    def __init__(self, journal: Journal, lookup: Lookup) -> None:
        self._journal = journal
        self._lookup = lookup

    def case(self, row: RunRow, fetching: Fetching) -> Case:
        """Restore a run as of its last transition, and read what it owes."""
        deliveries = self._journal.deliveries(DeliveryQuery(run_id=row.id, limit=NO_LIMIT))
        events = {event.id: event for event in self._journal.events(row.id)}
        parent = None if row.parent_run_id is None else self._journal.run(row.parent_run_id)
        parent_flow_run_id = None if parent is None else parent.flow_run_id
        hooks = self._lookup.hooks(row)
        definition = _with_hooks(row, hooks, fetching)
        state = state_of(events.get(row.state_id) or row)
        run = _restored(row, definition, parent_flow_run_id, state)
        facts = (self._context(row, run), parent_flow_run_id, events, deliveries)

        return Case(row, definition, hooks, fetching, *facts)

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

    def fact(self, case: Case, event: EventRow) -> Transition:
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

        transition = Transition.past(run, event.follows)
        before = None if event.follows is None else case.events.get(event.follows)
        transition.previous = None if before is None else BuiltState(state_of(before))

        return transition

    def hook(self, case: Case, fact: Transition, owed: DeliveryRow) -> Hook:
        """Return the hook that is owed: that at its place among those that select the event."""
        event = transition_event(fact)
        first = 0 if owed.ordinal < LASTED else WORKERS if owed.is_workers else LASTED
        where = "worker" if owed.is_workers else "owner"
        untimed = [each for each in case.hooks if each.filter().lasting is None]
        here = [each for each in untimed if each.where == where and each.filter().admits(event)]
        selecting = timed(case.hooks) if first == LASTED else here
        at_place = selecting[owed.ordinal - first : owed.ordinal - first + 1]
        if at_place and at_place[0].id == owed.hook:
            return at_place[0]

        # Hooks were declared or cancelled since.
        return self._lookup.owed(owed.hook, selecting)


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


@contextmanager
def in_context(case: Case, run: Run) -> Iterator[None]:
    """Make the run the current one for loggers and `runtime` within the block."""
    context = case.context
    flow_run = run if isinstance(run, FlowRun) else context.flow_run
    token = current_run.set(context._replace(run=run, flow_run=flow_run))
    try:
        yield
    finally:
        current_run.reset(token)
