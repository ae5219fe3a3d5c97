"""What runs have left in the journal in force, read for tests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from eventflow.client.journals import take_in_ended
from eventflow.events import Event, StateTransition
from eventflow.journal.contract import DeliveryQuery, Journal, RunQuery
from eventflow.journal.recorder import Recorder
from eventflow.journal.rows import DeliveryRow, RunRow
from eventflow.wiring import recorder


def the_recorder() -> Recorder:
    """Return the recorder of the bus in force."""
    attached = recorder()
    assert attached is not None

    return attached


def written() -> Journal:
    """Return the journal in force, after a flush, with what ended processes have left."""
    assert the_recorder().flush()
    take_in_ended()

    return the_recorder().journal


def the_run(definition: str) -> RunRow:
    """Return the only run of a definition."""
    (row,) = written().runs(RunQuery(definition=definition))

    return row


def owed(run_id: UUID | None = None) -> list[DeliveryRow]:
    """Return the deliveries of a run, or of all runs."""
    return written().deliveries(DeliveryQuery(run_id=run_id))


def statuses(run_id: UUID | None = None) -> list[tuple[str, str, int]]:
    """Return state, status and attempts of the deliveries of a run, or of all runs."""
    journal = written()
    events = {
        event.id: event.state_name
        for run in journal.runs(RunQuery())
        for event in journal.events(run.id)
    }

    return [(events[row.event_id], str(row.status), row.attempts) for row in owed(run_id)]


def compare_with_events(events: Sequence[Event]) -> int:
    """Assert that the journal says what the events say; returns how many runs there are."""
    journal = written()
    transitions = [event for event in events if isinstance(event, StateTransition)]
    last = {event.run_id: event for event in transitions}
    assert {row.id for row in journal.runs(RunQuery())} == set(last)
    for run_id, event in last.items():
        row = journal.run(run_id)
        assert row is not None
        _compare(row, event)
        assert row.seconds == _seconds([each for each in transitions if each.run_id == run_id])
        recorded = [
            (row.id, row.sequence, row.state_type, row.state_name, row.follows, row.run_count)
            for row in journal.events(run_id)
        ]
        assert recorded == [
            (event.id, event.sequence, *_type_and_name(event), event.follows, event.run_count)
            for event in transitions
            if event.run_id == run_id
        ]
    assert journal.verify() == []

    return len(last)


def _type_and_name(event: StateTransition) -> tuple[str, str]:
    return event.to_state.type, event.to_state.name


def _seconds(transitions: Sequence[StateTransition]) -> float:
    """Return how long a run was Running, from each such state to the next."""
    between = [
        event.to_state.timestamp - event.from_state.timestamp
        for event in transitions
        if event.from_state is not None and event.from_state.is_running()
    ]

    return sum(between, timedelta()).total_seconds()


def _compare(row: RunRow, event: StateTransition) -> None:
    state, run = event.to_state, event.run
    assert run is not None
    assert (row.run_type, row.name, row.definition) == (
        *(event.run_type, event.run_name, event.definition_name),
    )
    assert (row.parent_run_id, row.flow_run_id, row.root_flow_run_id) == (
        *(event.parent_run_id, event.flow_run_id, event.root_flow_run_id),
    )
    assert (row.state_id, row.state_type, row.state_name, row.message) == (
        *(state.id, state.type, state.name, state.message),
    )
    assert (row.sequence, row.run_count) == (event.sequence, event.run_count)
    assert (row.created, row.started, row.ended) == (run.created, run.start_time, run.end_time)
    assert row.state_at == state.timestamp
    assert set(row.tags) == set(event.tags)
    assert row.owner == the_recorder().owner_id
