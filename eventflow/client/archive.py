"""What a journal knows, in typed records and events instead of rows."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from eventflow.client.records import DeliveryRecord, FlowRunRecord, RunRecord, TaskRunRecord
from eventflow.events import FlowRunTransition, TaskRunTransition
from eventflow.journal.contract import Cursor, DeliveryQuery, Journal, RunQuery
from eventflow.journal.rows import DeliveryRow, EventRow, RunRow, error_of, state_of
from eventflow.states import AnyState

__all__ = ["Archive", "RunTransition"]

RunTransition = FlowRunTransition | TaskRunTransition

REMEMBERED: Final = 4_096
"""Of how many runs it is remembered who they are and what they entered last."""


class Archive:
    """Reads one journal. Not for several threads at the same time."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._runs: OrderedDict[UUID, RunRow] = OrderedDict()
        self._states: OrderedDict[UUID, dict[int, AnyState]] = OrderedDict()

    # -- runs -------------------------------------------------------------------------------

    def run(self, run_id: UUID) -> RunRecord | None:
        """Give one run."""
        row = self.journal.run(run_id)

        return None if row is None else _record(row)

    def runs(self, query: RunQuery) -> list[RunRecord]:
        """Give the runs that are asked for, newest first."""
        return [_record(row) for row in self.journal.runs(query)]

    def row(self, run_id: UUID) -> RunRow | None:
        """Give what does not change of a run: who it is, not how it stands."""
        known = self._runs.get(run_id)
        if known is None:
            known = self.journal.run(run_id)
            if known is not None:
                _remember(self._runs, run_id, known)

        return known

    def within(self, run_id: UUID, above: UUID) -> bool:
        """Say whether a run is another one, or hangs from it."""
        place: UUID | None = run_id
        while place is not None and place != above:
            row = self.row(place)
            place = None if row is None else row.parent_run_id

        return place is not None

    def below(self, run_id: UUID) -> Iterator[UUID]:
        """Give the ids of all that hangs from a run, and its own first."""
        pending = [run_id]
        while pending:
            parent = pending.pop()
            yield parent
            pending += [
                row.id for row in self.journal.runs(RunQuery(parent_run_id=parent, limit=2**31))
            ]

    # -- events -----------------------------------------------------------------------------

    def events(self, run_id: UUID) -> list[RunTransition]:
        """Give the events of a run, in order."""
        return self.restored(self.journal.events(run_id))

    def events_after(self, cursor: Cursor, limit: int) -> tuple[list[RunTransition], Cursor]:
        """Give events of all runs and the cursor to go on from."""
        rows, onward = self.journal.events_after(cursor, limit)

        return self.restored(rows), onward

    def restored(self, rows: Iterable[EventRow]) -> list[RunTransition]:
        """Make of rows the events that were published; those of an unknown run are left out."""
        made = (self._event(row) for row in rows)

        return [event for event in made if event is not None]

    def _event(self, row: EventRow) -> RunTransition | None:
        run = self.row(row.run_id)
        if run is None:
            return None
        entered = state_of(row)
        left = self._state_before(row)
        _remember(self._states, row.run_id, {row.sequence: entered})
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
            from_state=left,
            to_state=entered,
            tags=frozenset(run.tags),
            run_count=row.run_count,
            sequence=row.sequence,
        )

    def _state_before(self, row: EventRow) -> AnyState | None:
        wanted = row.sequence - 1
        if wanted < 0:
            return None
        known = self._states.get(row.run_id, {})
        if wanted not in known:
            known = {one.sequence: state_of(one) for one in self.journal.events(row.run_id)}

        return known.get(wanted)

    # -- deliveries -------------------------------------------------------------------------

    def deliveries(self, query: DeliveryQuery) -> list[DeliveryRecord]:
        """Give the deliveries that are asked for, with the runs and states that they are for."""
        return [self._delivery(row) for row in self.journal.deliveries(query)]

    def _delivery(self, row: DeliveryRow) -> DeliveryRecord:
        run = self.row(row.run_id)
        state = self._state(row)

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
        )

    def _state(self, row: DeliveryRow) -> AnyState | None:
        known = self._states.get(row.run_id, {})
        found = next((one for one in known.values() if one.id == row.event_id), None)
        if found is None:
            known = {one.sequence: state_of(one) for one in self.journal.events(row.run_id)}
            _remember(self._states, row.run_id, known)
            found = next((one for one in known.values() if one.id == row.event_id), None)

        return found


def _remember(memory: OrderedDict[UUID, Any], run_id: UUID, value: Any) -> None:
    memory[run_id] = value
    memory.move_to_end(run_id)
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)


def _record(row: RunRow) -> RunRecord:
    kind = TaskRunRecord if row.run_type == "task" else FlowRunRecord

    return kind(
        id=row.id,
        name=row.name,
        definition_name=row.definition,
        definition=row.reference,
        version=row.version,
        tags=row.tags,
        parameters=_parameters(row.parameters),
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
    )


def _parameters(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text
