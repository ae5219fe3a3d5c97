"""Every journal reads back what was written to it, whichever database it is in."""

from __future__ import annotations

import json
import logging
import threading
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from uuid_utils.compat import uuid7

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import (
    START,
    DeliveryQuery,
    Journal,
    RunQuery,
    StaleOwnerError,
    UnstorableError,
)
from eventflow.journal.rows import DeliveryRow, EventRow, OwnerRow, RunRow
from eventflow.states import StateType
from tests.journal.rows import (
    ENDED,
    NOW,
    a_delivery,
    a_run,
    an_event,
    an_owner,
    entering,
    ids,
    later,
    line_of,
    settled,
    settling,
)
from tests.journal.strategies import deliveries, events, owners, runs

D = DeliveryStatus


def test_a_transition_is_read_back_as_it_was_written(journal: Journal) -> None:
    """Run, event and delivery of one line come back equal."""
    run = a_run(tags=("a\nb", ""), message="ünï", started=NOW, seconds=1.5, version="2")
    delivery = a_delivery(run, due=NOW, error="x", updated=NOW, importable=False)

    journal.commit_lines([entering(run, delivery)])

    assert journal.run(run.id) == run
    assert journal.events(run.id) == [an_event(run)]
    assert journal.deliveries(DeliveryQuery(run_id=run.id)) == [delivery]
    assert journal.run(uuid7()) is None


def test_a_run_has_the_values_of_its_newest_row(journal: Journal) -> None:
    """A later row replaces an earlier one, in whichever order they are written."""
    first = a_run()
    second = later(first, StateType.RUNNING)

    journal.commit_lines([entering(second)])
    journal.commit_lines([entering(first)])

    assert journal.run(first.id) == second
    assert [event.sequence for event in journal.events(first.id)] == [0, 1]


def test_committing_a_line_again_changes_nothing(journal: Journal) -> None:
    """A commit whose outcome is not known may be repeated."""
    run = a_run()
    delivery = a_delivery(run)
    line = entering(run, delivery)
    journal.commit_lines([line])
    journal.commit_lines([settling(settled(delivery, D.DELIVERED))])

    journal.commit_lines([line])

    assert journal.statistics().events == 1
    assert journal.deliveries(DeliveryQuery(run_id=run.id))[0].status is D.DELIVERED


def lines_of(run: RunRow, delivery: DeliveryRow) -> list[bytes]:
    """Make the lines of a run with one hook: three transitions, and the hook's attempt."""
    begun = later(run, StateType.RUNNING)
    done = later(begun, StateType.COMPLETED, ends=True)
    owed = delivery._replace(event_id=done.state_id)
    lines = [entering(run), entering(begun), entering(done, owed)]
    lines += [settling(settled(owed, status)) for status in (D.RUNNING, D.DELIVERED)]

    # As another process reads them from the spool.
    return [bytes(line) for line in lines]


@pytest.mark.parametrize("size", [1, 2, 3, 99])
def test_lines_are_written_in_groups_of_any_size(journal: Journal, size: int) -> None:
    """However a spool is divided, the same is read back, also when it is written again."""
    run = a_run()
    delivery = a_delivery(run)
    lines = lines_of(run, delivery)
    for _ in range(2):
        for start in range(0, len(lines), size):
            journal.commit_lines(lines[start : start + size])

    row = journal.run(run.id)
    assert row is not None
    assert (row.state_type, row.sequence) == (StateType.COMPLETED, 2)
    assert [event.sequence for event in journal.events(run.id)] == [0, 1, 2]
    (delivered,) = journal.deliveries(DeliveryQuery(run_id=run.id))
    assert (delivered.status, delivered.attempts, delivered.updated) == (D.DELIVERED, 1, NOW)


def test_lines_written_again_in_another_grouping_lose_nothing(journal: Journal) -> None:
    """An existing delivery is updated with its later settlements."""
    run = a_run()
    lines = lines_of(run, a_delivery(run))
    journal.commit_lines(lines[:3])

    journal.commit_lines(lines)
    journal.commit_lines(lines[:3])

    assert [delivery.status for delivery in journal.deliveries(DeliveryQuery())] == [D.DELIVERED]
    other = a_run()
    lines = lines_of(other, a_delivery(other))
    journal.commit_lines(lines[:4])
    journal.commit_lines(lines[:3])
    (begun,) = journal.deliveries(DeliveryQuery(run_id=other.id))
    assert (begun.status, begun.attempts) == (D.RUNNING, 1)


def test_many_lines_are_written_at_once(journal: Journal) -> None:
    """More rows than one statement takes, and settlements of earlier deliveries."""
    made = [a_run(**ENDED) for _ in range(1337)]
    owed = [a_delivery(run) for run in made]
    journal.commit_lines([entering(*pair) for pair in zip(made, owed, strict=True)])

    steps = [settled(delivery, D.FAILED, 2, due=NOW, error="no") for delivery in owed]
    journal.commit_lines([settling(step) for step in steps])
    journal.commit_lines([settling(settled(owed[0], D.DELIVERED, 3))])

    assert journal.statistics().runs == len(made)
    assert journal.statistics().events == len(made)
    rows = journal.deliveries(DeliveryQuery(limit=9999))
    outcome: dict[str, Any] = {
        "status": D.FAILED,
        "attempts": 2,
        "due": NOW,
        "error": "no",
        "updated": NOW,
    }
    failed = [delivery._replace(**outcome) for delivery in owed]
    assert rows[0] == owed[0]._replace(status=D.DELIVERED, attempts=3, updated=NOW)
    assert rows[1:] == failed[1:]


def test_a_bad_line_is_left_out_and_logged(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """The rest of its group is written; the log says how many lines were bad, and shows one."""
    run = a_run()

    with caplog.at_level(logging.ERROR):
        journal.commit_lines([b'{"torn":', entering(run), b"also bad"])

    assert journal.run(run.id) == run
    assert "2 of 3 lines" in caplog.text
    assert '{"torn":' in caplog.text


def test_a_group_is_written_whole_or_not_at_all(journal: Journal) -> None:
    """A row that cannot be stored keeps its group out; so does a fence that is not in force."""
    run = a_run()
    bad = json.dumps({"events": [[None] * len(EventRow._fields)]}).encode()
    fence = journal.register(an_owner())
    journal.end("owner", "vanished")

    with pytest.raises(UnstorableError):
        journal.commit_lines([entering(run), bad])
    with pytest.raises(StaleOwnerError):
        journal.commit_lines([entering(run)], fence)

    assert journal.run(run.id) is None
    assert journal.events(run.id) == []


def test_no_lines_can_be_written(journal: Journal) -> None:
    """Nothing is written, and no error is raised."""
    journal.commit_lines([])

    assert journal.statistics().events == 0


def test_text_that_cannot_be_stored_is_sanitized(journal: Journal) -> None:
    """A strange character never keeps a transition or an owner out of the journal."""
    run = a_run(message="a \0 byte")
    owner = an_owner(cwd="/lone \ud800 surrogate")

    journal.commit_lines([entering(run)])
    fence = journal.register(owner)

    row = journal.run(run.id)
    assert row is not None
    assert row.message in {"a \0 byte", "a \ufffd byte"}
    assert row._replace(message=None) == run._replace(message=None)
    (stored,) = journal.owners()
    assert stored.cwd == "/lone \ufffd\ufffd\ufffd surrogate"
    assert stored == owner._replace(cwd=stored.cwd, token=fence.token)


def test_runs_are_selected_by_their_fields(journal: Journal) -> None:
    """Every field of a query narrows the answer; the newest come first."""
    flow = a_run(run_type="flow", definition="etl", created=NOW - timedelta(days=1))
    flow = flow._replace(flow_run_id=flow.id)
    task = a_run(parent_run_id=flow.id, flow_run_id=flow.id, owner="other")
    nested = a_run(parent_run_id=task.id, flow_run_id=flow.id, definition="load[1]", **ENDED)
    for run in (flow, task, nested):
        journal.commit_lines([entering(run)])

    def selected(**query: Any) -> list[UUID]:
        return ids(journal.runs(RunQuery(**query)))

    assert selected() == [nested.id, task.id, flow.id]
    assert selected(limit=1) == [nested.id]
    assert selected(run_type="flow") == [flow.id]
    assert selected(state_types=[StateType.COMPLETED, StateType.FAILED]) == [nested.id]
    assert selected(definition="e*t*") == [task.id, flow.id]
    assert selected(definition="l?ad[[]1]") == [nested.id]
    assert selected(definition="[!e]*") == [nested.id]
    assert selected(unfinished=True) == [task.id, flow.id]
    assert selected(parent_run_id=flow.id) == [task.id]
    assert selected(flow_run_id=flow.id) == [nested.id, task.id, flow.id]
    assert selected(keeper="other") == [task.id]
    assert selected(since=NOW) == [nested.id, task.id]


def test_events_are_followed_with_a_cursor(journal: Journal) -> None:
    """They come in the order of commits, each event once, and none at the end."""
    runs = [a_run() for _ in range(5)]
    for run in runs:
        journal.commit_lines([entering(run)])

    first, cursor = journal.events_after(START, 3)
    second, cursor = journal.events_after(cursor, 3)

    assert [event.run_id for event in first + second] == ids(runs)
    assert journal.events_after(cursor, 3) == ([], cursor)
    assert journal.events_after(journal.cursor(), 3)[0] == []


def test_there_is_a_cursor_for_a_moment(journal: Journal) -> None:
    """Every event since the moment comes after it."""
    old, new = a_run(state_at=NOW - timedelta(days=2)), a_run()
    for run in (old, new):
        journal.commit_lines([entering(run)])

    events, _ = journal.events_after(journal.cursor(NOW - timedelta(days=1)), 10)

    assert [event.run_id for event in events] == [new.id]
    assert journal.events_after(journal.cursor(NOW + timedelta(days=1)), 10)[0] == []


def test_an_event_wakes_the_waiting(journal: Journal) -> None:
    """`wait` returns at the next commit, and returns False if there is none."""
    cursor = journal.cursor()
    woken: list[bool] = []
    waiter = threading.Thread(target=lambda: woken.append(journal.wait(cursor, 60)))
    waiter.start()

    journal.commit_lines([entering(a_run())])
    waiter.join(60)

    assert woken == [True]
    assert not journal.wait(journal.cursor(), 0.01)


def test_a_closed_journal_opens_again(journal: Journal) -> None:
    """Closing releases files and connections, and loses nothing."""
    run = a_run()
    journal.commit_lines([entering(run)])

    journal.close()
    journal.close()

    assert journal.run(run.id) == run


@settings(
    max_examples=30,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(run=runs, event=events, delivery=deliveries, owner=owners)
def test_every_row_is_read_back_as_it_was(
    journal: Journal, run: RunRow, event: EventRow, delivery: DeliveryRow, owner: OwnerRow
) -> None:
    """Whatever values it has."""
    # With ids of their own, as the journal holds the rows of earlier examples.
    run, event = run._replace(id=uuid7()), event._replace(run_id=uuid7())
    delivery = delivery._replace(id=uuid7())
    journal.commit_lines([line_of(runs=[run], events=[event], deliveries=[delivery])])
    fence = journal.register(owner)

    assert journal.run(run.id) == run
    assert event in journal.events(event.run_id)
    assert delivery in journal.deliveries(DeliveryQuery(id=delivery.id))
    plain = owner._replace(token=fence.token, lease_until=None, ended=None, reason=None)
    assert plain in journal.owners()
