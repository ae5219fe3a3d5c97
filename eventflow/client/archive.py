"""Reading a journal as typed records and events instead of rows."""

from __future__ import annotations

import glob
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any, Final, TypeAlias
from uuid import UUID

from eventflow.client.records import (
    DeliveryRecord,
    FailingHook,
    FlowRunRecord,
    RunRecord,
    TaskRunRecord,
)
from eventflow.events import FlowRunTransition, TaskRunTransition
from eventflow.hooks.ledger import DEAD, DELIVERED, LASTED, WORKERS
from eventflow.hooks.sets import RecordedHook
from eventflow.journal.contract import Cursor, DeliveryQuery, Journal, RunQuery
from eventflow.journal.history import event_rows, run_row, transitions_of
from eventflow.journal.rows import DeliveryRow, EventRow, OwnEvent, RunRow, error_of, state_of
from eventflow.states.state import AnyState
from eventflow.values.restoring import readable_parameters

__all__ = ["EARLIEST", "Archive", "History", "RunTransition"]

RunTransition = FlowRunTransition | TaskRunTransition

History: TypeAlias = tuple[RunRow, list[RunTransition]]
"""A run, and transitions of it in their order."""

BATCH: Final = 500
"""How many runs are read at a time with their transitions."""

EARLIEST: Final = datetime.min.replace(tzinfo=UTC)

CACHED: Final = 4_096
"""How many runs are cached, each with the states that were read last."""

DEAD_READ: Final = 1_000
"""How many dead deliveries are looked at to find the hooks that fail."""


class Archive:
    """Reads one journal; not thread-safe."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._runs: OrderedDict[UUID, RunRow] = OrderedDict()
        self._states: OrderedDict[UUID, dict[int, AnyState]] = OrderedDict()
        # By the id of a set of hooks, which never changes.
        self._timed: dict[str, list[RecordedHook]] = {}

    # -- runs -------------------------------------------------------------------------------

    def run(self, run_id: UUID) -> RunRecord | None:
        """Return one run."""
        row = self.journal.run(run_id)

        return None if row is None else self._record(row)

    def runs(self, query: RunQuery) -> list[RunRecord]:
        """Return the runs that the query selects, newest first."""
        return [self._record(row) for row in self.journal.runs(query)]

    def _record(self, row: RunRow) -> RunRecord:
        return _record(row, self._overdue(row))

    def _overdue(self, row: RunRow) -> datetime | None:
        """Return since when a run has been overdue, for the first hook that it is subject to."""
        if row.started is None:
            return None
        hooks = (hook for hook in self._timed_hooks(row) if hook.selects(row))
        limits = (hook.overdue_seconds for hook in hooks)
        limit = min((each for each in limits if each is not None), default=None)
        due = None if limit is None else row.started + timedelta(seconds=limit)

        return None if due is None or due > (row.ended or datetime.now(UTC)) else due

    def _timed_hooks(self, row: RunRow) -> list[RecordedHook]:
        """Return the hooks of a run that are told of a state that lasts, or that it is overdue."""
        keys = (row.hooks, row.global_hooks)

        return [hook for key in keys for hook in self._timed_in(row.owner, key)]

    def _timed_in(self, owner: str, key: str | None) -> list[RecordedHook]:
        if not key:
            return []
        if key not in self._timed:
            for other, text in self.journal.hook_sets(owner).items():
                with suppress(ValueError):
                    timed = "lasting" in text or "overdue_seconds" in text
                    hooks = RecordedHook.read(text) if timed else []
                    self._timed[other] = [hook for hook in hooks if hook.is_timed]

        return self._timed.setdefault(key, [])

    def _timed_hook(self, row: DeliveryRow, run: RunRow | None) -> RecordedHook | None:
        """Return the hook of a delivery that is owed because of how long a state has lasted."""
        if not LASTED <= row.ordinal < WORKERS or run is None:
            return None
        hooks = self._timed_hooks(run)
        at_place = hooks[row.ordinal - LASTED : row.ordinal - LASTED + 1]

        return next((hook for hook in [*at_place, *hooks] if hook.id == row.hook), None)

    def row(self, run_id: UUID) -> RunRow | None:
        """Return the row of a run; it is cached, so only what never changes of it is current."""
        row = self._runs.get(run_id)
        if row is None:
            row = self.journal.run(run_id)
            if row is not None:
                _cache(self._runs, run_id, row)

        return row

    def within(self, run_id: UUID, ancestor: UUID) -> bool:
        """Return whether a run is the ancestor itself, or one of its descendants."""
        current: UUID | None = run_id
        while current is not None and current != ancestor:
            row = self.row(current)
            current = None if row is None else row.parent_run_id

        return current is not None

    # -- events -----------------------------------------------------------------------------

    def events(self, run_id: UUID) -> list[RunTransition]:
        """Return the events of a run, in order."""
        return self.restored(self.journal.events(run_id))

    def events_after(
        self, cursor: Cursor, limit: int
    ) -> tuple[list[RunTransition | OwnEvent], Cursor]:
        """Return events of all runs, and users' own ones, and the cursor after them."""
        rows, after = self.journal.events_after(cursor, limit)
        events = (row if isinstance(row, OwnEvent) else self._event(row) for row in rows)

        return [event for event in events if event is not None], after

    def tree(self, run_id: UUID) -> list[History]:
        """Return a run and all that it called, directly or not, with all their transitions.

        In the order of their ids; none if the journal does not have the run.
        """
        return [
            self._history(run_row(run), [*event_rows(run.id, transitions_of(run))])
            for run in self.journal.tree(run_id)
        ]

    def histories(self, since: datetime, after: UUID | None) -> list[History]:
        """Return some of the runs behind another one, with their transitions since a moment.

        In the order of their ids; none if there are no more.
        """
        return [
            self._history(run, rows, since)
            for run, rows in self.journal.histories(since, after, BATCH)
        ]

    def _history(
        self, run: RunRow, rows: Sequence[EventRow], since: datetime = EARLIEST
    ) -> History:
        states = {row.sequence: state_of(row) for row in rows}
        _cache(self._runs, run.id, run)
        events = [
            _transition(run, row, states.get(row.sequence - 1), states[row.sequence])
            for row in rows
            if row.occurred >= since
        ]

        return run, events

    def restored(self, rows: Iterable[EventRow]) -> list[RunTransition]:
        """Restore the published events from rows; those of an unknown run are omitted."""
        events = (self._event(row) for row in rows)

        return [event for event in events if event is not None]

    def _event(self, row: EventRow) -> RunTransition | None:
        run = self.row(row.run_id)
        if run is None:
            return None
        entered = state_of(row)
        previous = self._state_before(row)
        _cache(self._states, row.run_id, {row.sequence: entered})

        return _transition(run, row, previous, entered)

    def _state_before(self, row: EventRow) -> AnyState | None:
        sequence = row.sequence - 1
        if sequence < 0:
            return None
        states = self._states.get(row.run_id, {})
        if sequence not in states:
            states = self._read_states(row.run_id)

        return states.get(sequence)

    def _read_states(self, run_id: UUID) -> dict[int, AnyState]:
        return {event.sequence: state_of(event) for event in self.journal.events(run_id)}

    # -- deliveries -------------------------------------------------------------------------

    def deliveries(self, query: DeliveryQuery) -> list[DeliveryRecord]:
        """Return the deliveries that the query selects, with their runs and states."""
        return self.with_runs(self.journal.deliveries(query))

    def with_runs(self, rows: Iterable[DeliveryRow]) -> list[DeliveryRecord]:
        """Return deliveries with their runs and states."""
        return [self._delivery(row) for row in rows]

    def failing_hooks(self) -> list[FailingHook]:
        """Return the hooks whose last deliveries are all dead, those that failed last first."""
        dead = self.journal.deliveries(DeliveryQuery(statuses=[DEAD], newest=True, limit=DEAD_READ))
        hooks = dict.fromkeys(row.hook for row in dead)

        return [failing for hook in hooks if (failing := self._failing(hook)) is not None]

    def _failing(self, hook: str) -> FailingHook | None:
        query = DeliveryQuery(
            hook=glob.escape(hook), statuses=[DELIVERED, DEAD], newest=True, limit=1
        )
        # Mostly the last one says it: then no others are read.
        if any(row.status is DELIVERED for row in self.journal.deliveries(query)):
            return None
        rows = self.journal.deliveries(replace(query, limit=DEAD_READ))
        dead = [*takewhile(lambda row: row.status is DEAD, rows)]
        if not dead:
            return None
        first = self._delivery(dead[-1])

        return FailingHook(
            hook=hook, dead=len(dead), since=first.occurred, last=self._delivery(dead[0])
        )

    def _delivery(self, row: DeliveryRow) -> DeliveryRecord:
        run = self.row(row.run_id)
        state = self._state(row)
        timed = self._timed_hook(row, run)

        return DeliveryRecord(
            id=row.id,
            hook=row.hook,
            ordinal=row.ordinal,
            status=row.status,
            attempts=row.attempts,
            due=row.due,
            error=error_of(row.error),
            updated=row.updated,
            importable=row.importable,
            event_id=row.event_id,
            run_id=row.run_id,
            run_type=run and run.run_type,
            run_name=run and run.name,
            definition_name=run and run.definition,
            state_name=state and state.name,
            occurred=state and state.timestamp,
            lasting=timed and timed.lasting,
            overdue_seconds=timed and timed.overdue_seconds,
            where="worker" if row.is_workers else "owner",
        )

    def _state(self, row: DeliveryRow) -> AnyState | None:
        states = self._states.get(row.run_id, {})
        if all(state.id != row.event_id for state in states.values()):
            states = self._read_states(row.run_id)
            _cache(self._states, row.run_id, states)

        return next((state for state in states.values() if state.id == row.event_id), None)


def _transition(
    run: RunRow, row: EventRow, previous: AnyState | None, entered: AnyState
) -> RunTransition:
    kind = TaskRunTransition if run.run_type == "task" else FlowRunTransition

    return kind(
        id=row.id,
        occurred=row.occurred,
        follows=row.follows,
        run_id=run.id,
        run_name=run.name,
        definition_name=run.definition,
        flow_run_id=run.flow_run_id,
        parent_run_id=run.parent_run_id,
        root_flow_run_id=run.root_flow_run_id,
        from_state=previous,
        to_state=entered,
        tags=frozenset(run.tags),
        run_count=row.run_count,
        sequence=row.sequence,
    )


def _cache(cache: OrderedDict[UUID, Any], run_id: UUID, value: Any) -> None:
    cache[run_id] = value
    cache.move_to_end(run_id)
    if len(cache) > CACHED:
        cache.popitem(last=False)


def _record(row: RunRow, overdue: datetime | None) -> RunRecord:
    kind = TaskRunRecord if row.run_type == "task" else FlowRunRecord

    return kind(
        id=row.id,
        name=row.name,
        definition_name=row.definition,
        definition=row.reference,
        version=row.version,
        tags=row.tags,
        parameters=readable_parameters(row.parameters),
        parent_run_id=row.parent_run_id,
        flow_run_id=row.flow_run_id,
        root_flow_run_id=row.root_flow_run_id,
        owner=row.owner,
        created=row.created,
        start_time=row.started,
        end_time=row.ended,
        total_run_time=timedelta(seconds=row.seconds),
        run_count=row.run_count,
        state=state_of(row),
        overdue=overdue,
        retries=row.retries,
    )
