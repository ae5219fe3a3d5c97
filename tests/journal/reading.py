"""Reading, in tests, what runs have left in the journal in force."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from eventflow.events import Event, StateTransition
from eventflow.journal.contract import DeliveryQuery, Journal, RunQuery
from eventflow.journal.recorder import Recorder
from eventflow.journal.rows import DeliveryRow, RunRow
from eventflow.wiring import recorder


def account() -> Recorder:
    """Give what keeps account of the runs on the bus in force."""
    found = recorder()
    assert found is not None

    return found


def written() -> Journal:
    """Give the journal in force, with all in it that was recorded."""
    assert account().flush()

    return account().journal


def the_run(definition: str) -> RunRow:
    """Give the only run of a definition."""
    (found,) = written().runs(RunQuery(definition=definition))

    return found


def owed(run_id: UUID | None = None) -> list[DeliveryRow]:
    """Give the deliveries of a run, or of all, as they stand now."""
    return written().deliveries(DeliveryQuery(run_id=run_id))


def statuses(run_id: UUID | None = None) -> list[tuple[str, str, int]]:
    """Give state, status and attempts of the deliveries of a run, or of all."""
    journal = written()
    events = {
        event.id: event.state_name
        for one in journal.runs(RunQuery())
        for event in journal.events(one.id)
    }

    return [(events[one.event_id], str(one.status), one.attempts) for one in owed(run_id)]


def told_alike(events: Sequence[Event]) -> int:
    """Compare the journal with the events of the runs; gives how many runs there are."""
    journal = written()
    transitions = [one for one in events if isinstance(one, StateTransition)]
    last = {one.run_id: one for one in transitions}
    assert {row.id for row in journal.runs(RunQuery())} == set(last)
    for run_id, event in last.items():
        row = journal.run(run_id)
        assert row is not None
        _alike(row, event)
        assert [
            (one.id, one.sequence, one.state_type, one.state_name, one.follows, one.run_count)
            for one in journal.events(run_id)
        ] == [
            (one.id, one.sequence, one.to_state.type, one.to_state.name, one.follows, one.run_count)
            for one in transitions
            if one.run_id == run_id
        ]
    assert journal.verify() == []

    return len(last)


def _alike(row: RunRow, event: StateTransition) -> None:
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
    assert row.owner == account().owner_id
    assert abs(row.seconds - run.seconds) < 1e-6
