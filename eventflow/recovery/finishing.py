"""Finish the runs of a dead owner: deliver the hooks they owe, then have each run enter Crashed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from eventflow.context import RunContext, current_run
from eventflow.definitions.definition import Definition
from eventflow.eventbus.bus import current_bus
from eventflow.events import transition_event
from eventflow.hooks.declaration import Hook
from eventflow.hooks.ledger import OWED, DeliveryStatus
from eventflow.hooks.receiver import redeliver
from eventflow.hooks.references import set_reference
from eventflow.journal.contract import DeliveryQuery, Fence
from eventflow.journal.recorder import Key, Recorder
from eventflow.journal.rows import DeliveryRow, EventRow, RunRow, state_of
from eventflow.logs import take_prints
from eventflow.primitives.loggers import get_logger
from eventflow.recovery.lookup import DefinitionLookup
from eventflow.runs.run import FlowRun, Run, TaskRun, Transition
from eventflow.states import AnyState, Crashed

__all__ = ["Finished", "Finisher", "wait_until_due"]

ATTEMPTS: Final = 3
"""How many attempts a delivery has at least before it is dead, however few retries its hook has."""

NO_LIMIT: Final = 1_000_000
"""More deliveries than a run has."""


class Finished(NamedTuple):
    """How many runs entered Crashed, and the outcomes of the deliveries they owed."""

    crashed: int = 0
    delivered: int = 0
    dead: int = 0

    def plus(self, other: Finished) -> Finished:
        """Return the sum of both, number by number."""
        return Finished(*map(sum, zip(self, other, strict=True)))


class _SyncedLedger:
    """A ledger that commits the start of an attempt first: the attempt may kill this process."""

    def __init__(self, recorder: Recorder, on_progress: Callable[[], None]) -> None:
        self._recorder = recorder
        self._on_progress = on_progress
        self.last = DeliveryStatus.PENDING

    def settle(
        self,
        key: Key,
        status: DeliveryStatus,
        attempts: int,
        error: str | None = None,
        delay: float = 0.0,
        *,
        at_once: bool = True,  # noqa: ARG002 - nothing is deferred here
    ) -> None:
        """Record the start or the outcome of an attempt."""
        self.last = status
        self._recorder.settle(key, status, attempts, error, delay)
        if status is DeliveryStatus.RUNNING:
            self._recorder.flush()
            self._on_progress()

    def transaction(self, key: Key, attempts: int) -> AbstractContextManager[Any]:
        """Return the journal's own transaction, which ends with acknowledging this delivery."""
        return self._recorder.transaction(key, attempts)


class _Case(NamedTuple):
    """One run to finish, with its definition, its events and its deliveries."""

    row: RunRow
    definition: Definition[Any, Any]
    context: RunContext
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


class Finisher:
    """Finishes runs in the name of the recorder's owner, which must be their keeper.

    `message` is that of their Crashed state. `on_progress` is called at each attempt of a hook that
    the journal has: the next recovery need not count it again if this one is killed.
    """

    def __init__(
        self,
        recorder: Recorder,
        lookup: DefinitionLookup,
        message: str,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_progress = on_progress
        self._recorder = recorder
        self._journal = recorder.journal
        self._lookup = lookup
        self._message = message
        self._definitions: dict[tuple[str, str, str], Definition[Any, Any]] = {}

    def finish(self, fence: Fence, owner: str) -> Finished:
        """Claim and finish all runs of an owner that no living owner keeps.

        Raises:
            JournalError: the journal cannot be read, or the fence is no longer in force.
        """
        rows: list[RunRow] = []
        while claimed := self._journal.claim(fence, owner=owner):
            rows += claimed

        return self.finish_all(rows)

    def finish_all(self, rows: Iterable[RunRow]) -> Finished:
        """Finish runs, children first; those that wait for a retry come last."""
        cases = [self._case(row) for row in sorted(rows, key=lambda row: row.id, reverse=True)]
        self._lookup.guard_hooks()
        total = Finished()
        for case in sorted(cases, key=lambda case: case.due_in() > 0):
            total = total.plus(self._finish(case))

        return total

    def _finish(self, case: _Case) -> Finished:
        row = case.row
        outcomes = [self._deliver(case, owed) for owed in case.owed]
        if row.ended is None:
            self._crash(case)
        delivered = outcomes.count(DeliveryStatus.DELIVERED)
        get_logger("recovery").info(
            f"The {row.run_type} run {row.name!r} of {row.definition}: "
            + ("Crashed" if row.ended is None else row.state_name)
            + (f", {delivered} of {len(outcomes)} owed hooks delivered" if outcomes else ""),
            run_id=str(row.id),
        )

        return Finished(int(row.ended is None), delivered, outcomes.count(DeliveryStatus.DEAD))

    # -- restoring a run ------------------------------------------------------------------------

    def _case(self, row: RunRow) -> _Case:
        query = DeliveryQuery(run_id=row.id, limit=NO_LIMIT)
        deliveries = self._journal.deliveries(query)
        events = {event.id: event for event in self._journal.events(row.id)}
        parent = None if row.parent_run_id is None else self._journal.run(row.parent_run_id)
        parent_flow_run_id = None if parent is None else parent.flow_run_id
        definition = self._definition(row, [delivery.hook for delivery in deliveries])
        state = state_of(events.get(row.state_id) or row)
        run = _restored(row, definition, parent_flow_run_id, state)
        flow_run = run if isinstance(run, FlowRun) else self._flow_run(row)
        context = RunContext(run, flow_run, None, bool(definition.log_prints))

        return _Case(row, definition, context, parent_flow_run_id, events, deliveries)

    def _flow_run(self, row: RunRow) -> FlowRun | None:
        """Return the flow run that a task run belongs to, as it is in the journal."""
        flow_row = None if row.flow_run_id is None else self._journal.run(row.flow_run_id)
        if flow_row is None or flow_row.run_type != "flow":
            return None
        run = _restored(flow_row, self._definition(flow_row, ()), None, state_of(flow_row))

        return run if isinstance(run, FlowRun) else None

    def _definition(self, row: RunRow, hooks: Iterable[str]) -> Definition[Any, Any]:
        key = (row.run_type, row.reference, row.definition)
        if key not in self._definitions:
            definition = self._definitions[key] = self._lookup.definition(row, hooks)
            set_reference(definition, row.reference)

        return self._definitions[key]

    # -- deliveries -----------------------------------------------------------------------------

    def _deliver(self, case: _Case, owed: DeliveryRow) -> DeliveryStatus:
        """Make the remaining attempts of one delivery; return its status afterwards."""
        ledger = _SyncedLedger(self._recorder, self._on_progress)
        key = (owed.run_id, owed.event_id, owed.ordinal)
        event = case.events.get(owed.event_id)
        if event is None:
            ledger.settle(key, DeliveryStatus.DEAD, owed.attempts, "its event is not known")
            return ledger.last
        fact = self._fact(case, event)
        hook = self._hook(case, fact, owed)
        if hook is None:
            why = self._lookup.problem(owed.hook)
            reason = (
                f"the hook {owed.hook} was not found again"
                + (f" ({why})" if why else "")
                + "; redrive it when it is there"
            )
            get_logger("recovery").error(f"{case.row.name}: {reason}")
            ledger.settle(key, DeliveryStatus.DEAD, owed.attempts, reason)
            return ledger.last
        fact.journal = ledger
        wait_until_due(hook, owed)
        with _in_context(case, fact.run), _errors_logged(owed.hook):
            redeliver(hook, fact, owed.ordinal, owed.attempts, _max_attempts(hook))

        return ledger.last

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

        return Transition.past(run, event.follows)

    def _hook(self, case: _Case, fact: Transition, owed: DeliveryRow) -> Hook | None:
        """Return the hook that is owed: of several with one identity, that at its position."""
        position = sum(
            row.event_id == owed.event_id and row.hook == owed.hook and row.ordinal < owed.ordinal
            for row in case.deliveries
        )
        # Loading its module may attach it to the bus.
        undeclared = self._lookup.hook(owed.hook) if not _declared(fact, owed.hook) else None
        declared = _declared(fact, owed.hook)
        if declared:
            return declared[min(position, len(declared) - 1)]

        return undeclared

    def _crash(self, case: _Case) -> None:
        run = case.context.run
        fact = run.enter(Crashed(message=self._message))
        self._on_progress()
        with _in_context(case, run), _errors_logged("a hook"):
            current_bus().publish_transition(fact)


def _restored(
    row: RunRow, definition: Definition[Any, Any], parent_flow_run_id: UUID | None, state: AnyState
) -> Run:
    kind = FlowRun if row.run_type == "flow" else TaskRun
    facts: dict[str, object] = {
        "number": row.id.int,
        "name": row.name,
        "tag_set": frozenset(row.tags),
        "parameters": _parameters(row.parameters),
        "parent_run_id": row.parent_run_id,
        "flow_run_id": row.flow_run_id,
        "root_flow_run_id": row.root_flow_run_id,
        "created_at": row.created,
        "started_at": row.started,
        "ended_at": row.ended,
        "run_count": row.run_count,
        "transitions": row.sequence + 1,
        "_seconds": row.seconds,
    }
    if kind is FlowRun:
        facts["parent_flow_run_id"] = parent_flow_run_id

    return kind.restored(definition, row.definition, state, facts)


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


def _declared(fact: Transition, hook_id: str) -> list[Hook]:
    """Return the declared hooks with an identity; those for the state, if there are any."""
    explained = [
        (row.matched, row.subscription.hook)
        for row in current_bus().explain(transition_event(fact))
        if row.subscription.hook is not None
    ]
    named = [(matched, hook) for matched, hook in explained if hook.id == hook_id]

    return [hook for matched, hook in named if matched] or [hook for _, hook in named]


@contextmanager
def _in_context(case: _Case, run: Run) -> Iterator[None]:
    """Make the run the current one for loggers and `runtime` within the block."""
    context = case.context
    flow_run = run if isinstance(run, FlowRun) else context.flow_run
    if context.log_prints:
        take_prints()
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


def _parameters(text: str | None) -> dict[str, Any]:
    parameters = None if text is None else json.loads(text)

    return parameters if isinstance(parameters, dict) else {}
