"""Finishing the runs of an owner that is dead: what is owed is delivered, then each is Crashed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

from eventflow.context import RunContext, current_run
from eventflow.definitions.definition import Definition
from eventflow.eventbus.bus import current_bus
from eventflow.events import transition_event
from eventflow.flows import Flow
from eventflow.hooks.declaration import Hook
from eventflow.hooks.ledger import OWED, DeliveryStatus, Ledger
from eventflow.hooks.receiver import HookReceiver, redeliver
from eventflow.hooks.references import remember
from eventflow.journal.contract import DeliveryQuery, Fence, Journal
from eventflow.journal.rows import DeliveryRow, EventRow, RunRow, state_of
from eventflow.logs import take_prints
from eventflow.primitives.loggers import get_logger
from eventflow.runs.run import FlowRun, Run, TaskRun, Transition
from eventflow.states import AnyState, Crashed
from eventflow.tasks import Task

__all__ = ["Account", "Finder", "Finished", "Finisher", "at_most", "stand_in"]

ATTEMPTS: Final = 3
"""How often a delivery is begun at least before it is given up, however few retries it has."""

MANY: Final = 1_000_000
"""More deliveries than a run has."""

Key = tuple[UUID, UUID, int]


class Account(Ledger, Protocol):
    """Where outcomes are written down; see `eventflow.journal.recorder.Recorder`."""

    @property
    def journal(self) -> Journal:
        """The journal that they are written to."""
        ...

    def flush(self) -> bool:
        """Have all in the journal; says whether it is."""
        ...


class Finder(Protocol):
    """Finds definitions and hooks again; see `eventflow.recovery.loading`."""

    def definition(self, row: RunRow, hooks: Iterable[str]) -> Definition[Any, Any] | None:
        """Give the definition of a run, some of whose hooks are known."""
        ...

    def hook(self, hook_id: str) -> Hook | None:
        """Give a hook that no definition and no bus has."""
        ...

    def all_found(self) -> None:
        """Hear that every definition was asked for, and that hooks will be run from now on."""
        ...


class Finished(NamedTuple):
    """What was done: how many runs Crashed, and hooks of earlier transitions were run."""

    crashed: int = 0
    delivered: int = 0
    dead: int = 0


class _Surely:
    """Has an attempt's beginning in the journal before the attempt: it may end this process."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self.last = DeliveryStatus.PENDING

    def settle(
        self,
        key: Key,
        status: DeliveryStatus,
        attempts: int,
        error: str | None = None,
        delay: float = 0.0,
        *,
        at_once: bool = True,  # noqa: ARG002 - here nothing is put off
    ) -> None:
        """Note an attempt's beginning or outcome."""
        self.last = status
        self._account.settle(key, status, attempts, error, delay)
        if status is DeliveryStatus.RUNNING:
            self._account.flush()

    def transaction(self, key: Key, attempts: int) -> AbstractContextManager[Any]:
        """Give the journal's own transaction, which ends with this delivery's acknowledgement."""
        return self._account.transaction(key, attempts)


class _Case(NamedTuple):
    """One run, with what is known of it and what it owes."""

    row: RunRow
    definition: Definition[Any, Any]
    context: RunContext
    parent_flow_run_id: UUID | None
    events: Mapping[UUID, EventRow]
    deliveries: list[DeliveryRow]

    @property
    def owed(self) -> list[DeliveryRow]:
        """What it owes, in order."""
        return [one for one in self.deliveries if one.status in OWED]

    def due(self) -> float:
        """Give how many seconds it is until the first of what it owes may be tried again."""
        moment = next((one.due for one in self.owed), None)

        return 0.0 if moment is None else (moment - datetime.now(UTC)).total_seconds()


class Finisher:
    """Finishes runs in the name of the account's owner, which must be their keeper."""

    def __init__(self, account: Account, finder: Finder, vanished: str) -> None:
        self._account = account
        self._journal = account.journal
        self._finder = finder
        self._vanished = vanished
        self._definitions: dict[tuple[str, str, str], Definition[Any, Any]] = {}

    def finish(self, fence: Fence, owner: str) -> Finished:
        """Claim and finish all that this owner executed and nobody alive keeps.

        Raises:
            JournalError: the journal cannot be read, or the fence is no longer in force.
        """
        rows: list[RunRow] = []
        while claimed := self._journal.claim(fence, owner=owner):
            rows += claimed

        return self.finish_all(rows)

    def finish_all(self, rows: Iterable[RunRow]) -> Finished:
        """Finish runs, children first; those that must wait for a retry come last."""
        cases = [self._case(row) for row in sorted(rows, key=_id, reverse=True)]
        self._finder.all_found()
        tally = Finished()
        for case in sorted(cases, key=lambda case: case.due() > 0):
            done = self._finish(case)
            tally = Finished(*(a + b for a, b in zip(tally, done, strict=True)))

        return tally

    def _finish(self, case: _Case) -> Finished:
        row = case.row
        outcomes = [self._deliver(case, one) for one in case.owed]
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

    # -- what is known of a run -----------------------------------------------------------------

    def _case(self, row: RunRow) -> _Case:
        query = DeliveryQuery(run_id=row.id, limit=MANY)
        deliveries = self._journal.deliveries(query)
        events = {one.id: one for one in self._journal.events(row.id)}
        above = None if row.parent_run_id is None else self._journal.run(row.parent_run_id)
        parent = None if above is None else above.flow_run_id
        definition = self._definition(row, [one.hook for one in deliveries])
        run = self._restored(row, definition, parent, state_of(events.get(row.state_id) or row))
        flow_run = run if isinstance(run, FlowRun) else self._flow_run(row)
        log_prints = bool(definition.log_prints)

        return _Case(
            row, definition, RunContext(run, flow_run, None, log_prints), parent, events, deliveries
        )

    def _flow_run(self, row: RunRow) -> FlowRun | None:
        """Give the flow run that a task run belongs to, as the journal knows it."""
        found = None if row.flow_run_id is None else self._journal.run(row.flow_run_id)
        if found is None or found.run_type != "flow":
            return None
        run = self._restored(found, self._definition(found, ()), None, state_of(found))

        return run if isinstance(run, FlowRun) else None

    def _definition(self, row: RunRow, hooks: Iterable[str]) -> Definition[Any, Any]:
        key = (row.run_type, row.reference, row.definition)
        if key not in self._definitions:
            found = self._finder.definition(row, hooks)
            self._definitions[key] = stand_in(row) if found is None else found
            remember(self._definitions[key], row.reference)

        return self._definitions[key]

    def _restored(
        self, row: RunRow, definition: Definition[Any, Any], parent: UUID | None, state: AnyState
    ) -> Run:
        kind = FlowRun if row.run_type == "flow" else TaskRun
        facts: dict[str, object] = {
            "number": row.id.int,
            "name": row.name,
            "labels": frozenset(row.tags),
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
            facts["parent_flow_run_id"] = parent

        return kind.restored(definition, row.definition, state, facts)

    # -- deliveries -----------------------------------------------------------------------------

    def _deliver(self, case: _Case, owed: DeliveryRow) -> DeliveryStatus:
        """Run what attempts are left of one delivery; says what has come of it."""
        ledger = _Surely(self._account)
        key = (owed.run_id, owed.event_id, owed.ordinal)
        event = case.events.get(owed.event_id)
        if event is None:
            ledger.settle(key, DeliveryStatus.DEAD, owed.attempts, "its event is not known")
            return ledger.last
        fact = self._fact(case, event)
        hook = self._hook(case, fact, owed)
        if hook is None:
            reason = f"the hook {owed.hook} was not found again; redrive it when it is there"
            get_logger("recovery").error(f"{case.row.name}: {reason}")
            ledger.settle(key, DeliveryStatus.DEAD, owed.attempts, reason)
            return ledger.last
        fact.journal = ledger
        _wait(hook, owed)
        with _in_force(case, fact.run), _unharmed(owed.hook):
            redeliver(hook, fact, owed.ordinal, owed.attempts, at_most(hook))

        return ledger.last

    def _fact(self, case: _Case, event: EventRow) -> Transition:
        """Give an earlier transition again, of the run as it stood then."""
        row = case.row
        last = event.id == row.state_id
        then = row._replace(
            run_count=event.run_count,
            sequence=event.sequence,
            started=row.started if event.run_count else None,
            ended=row.ended if last else None,
        )
        state = state_of(event)
        run = self._restored(then, case.definition, case.parent_flow_run_id, state)

        return Transition.past(run, event.follows)

    def _hook(self, case: _Case, fact: Transition, owed: DeliveryRow) -> Hook | None:
        """Give the hook that is owed: of several with one identity, the one in its place."""
        place = sum(
            one.event_id == owed.event_id and one.hook == owed.hook and one.ordinal < owed.ordinal
            for one in case.deliveries
        )
        # Loading where it is from may put it on the bus.
        spare = self._finder.hook(owed.hook) if not _declared(fact, owed.hook) else None
        found = _declared(fact, owed.hook)
        if found:
            return found[min(place, len(found) - 1)]

        return spare

    def _crash(self, case: _Case) -> None:
        run = case.context.run
        fact = run.enter(Crashed(message=self._vanished))
        with _in_force(case, run), _unharmed("a hook"):
            current_bus().publish_transition(fact)


def at_most(hook: Hook) -> int:
    """Give how many attempts of a delivery may begin, those in dead processes included."""
    return max(ATTEMPTS, hook.policy.retries + 1)


def stand_in(row: RunRow) -> Definition[Any, Any]:
    """Make a definition for a run whose own cannot be loaded: of its name, without hooks."""

    def lost(*_: object, **__: object) -> None:
        raise RuntimeError(f"{row.reference} could not be loaded again.")

    kind = Flow if row.run_type == "flow" else Task

    return kind(lost, {"name": row.definition})


def _wait(hook: Hook, owed: DeliveryRow) -> None:
    """Wait until the next attempt may begin."""
    if owed.due is not None:
        left = (owed.due - datetime.now(UTC)).total_seconds()
        # Bounded by the hook's own delay: the clock may have been set back.
        time.sleep(max(0.0, min(left, hook.policy.delay(max(1, owed.attempts)))))


def _declared(fact: Transition, hook_id: str) -> list[Hook]:
    """Give the hooks of that identity that are declared; if there are, those for the state."""
    known = [
        (one.matched, one.subscription.receiver.hook)
        for one in current_bus().explain(transition_event(fact))
        if isinstance(one.subscription.receiver, HookReceiver)
    ]
    named = [(matched, hook) for matched, hook in known if hook.id == hook_id]

    return [hook for matched, hook in named if matched] or [hook for _, hook in named]


@contextmanager
def _in_force(case: _Case, run: Run) -> Iterator[None]:
    """Have loggers and `runtime` speak of the run within the block."""
    here = case.context
    flow_run = run if isinstance(run, FlowRun) else here.flow_run
    if here.log_prints:
        take_prints()
    token = current_run.set(here._replace(run=run, flow_run=flow_run))
    try:
        yield
    finally:
        current_run.reset(token)


@contextmanager
def _unharmed(what: str) -> Iterator[None]:
    """Go on with the next, whatever a hook or a listener raised."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - others are owed theirs
        get_logger("recovery").error(f"{what} raised what is no failure", exc_info=error)


def _id(row: RunRow) -> UUID:
    return row.id


def _parameters(text: str | None) -> dict[str, Any]:
    found = None if text is None else json.loads(text)

    return found if isinstance(found, dict) else {}
