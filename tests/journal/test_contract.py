"""Every journal reads back what was written to it, whichever database it is in."""

from __future__ import annotations

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
    Group,
    Journal,
    RunQuery,
    StaleOwnerError,
    UnstorableError,
)
from eventflow.journal.records import CONTENT, pack
from eventflow.journal.rows import DeliveryRow, EventRow, OwnerRow, OwnEvent, RunRow
from eventflow.states import StateType
from tests.journal.rows import (
    AT,
    HOOK,
    NOW,
    SECOND,
    ARun,
    a_completed_run,
    a_definition,
    an_owner,
    commit,
    ids,
)
from tests.journal.strategies import owners

D = DeliveryStatus


def test_a_group_that_is_known_in_part_is_committed_to_its_end(journal: Journal) -> None:
    """A commit of unknown outcome is done again together with what came later."""
    run = ARun()
    known = run.enter("P") + run.enter("R")
    commit(journal, known)
    commit(journal, known + run.enter("C", HOOK, done=1))

    row = journal.run(run.id)
    assert row is not None
    assert (row.state_name, row.sequence) == ("Completed", 2)
    assert [event.sequence for event in journal.events(run.id)] == [0, 1, 2]


def test_a_run_is_read_back_as_it_was_written(journal: Journal) -> None:
    """The run with what its definition says of it, its events, and its delivery."""
    parent = ARun(run_type="flow", name="etl")
    run = ARun(
        parent=parent, version="2", tags=["a\nb", ""], hooks="h", global_hooks="g", retries=2
    )
    commit(journal, run.enter("PRC", HOOK, done=1))

    assert journal.run(run.id) == RunRow(
        id=run.id,
        run_type="task",
        name=f"extract-{run.id.hex[-3:]}",
        definition="extract",
        reference="etl:extract",
        version="2",
        tags=("a\nb", ""),
        parameters='[{"url":"x"}]',
        parent_run_id=parent.id,
        flow_run_id=parent.id,
        root_flow_run_id=parent.id,
        owner="owner",
        created=NOW,
        started=run.moment(1),
        ended=run.moment(2),
        seconds=1.0,
        run_count=1,
        sequence=2,
        state_id=run.event_id(),
        state_type=StateType.COMPLETED,
        state_name="Completed",
        state_at=run.moment(2),
        message=None,
        hooks="h",
        global_hooks="g",
        retries=2,
    )
    kinds = (StateType.PENDING, StateType.RUNNING, StateType.COMPLETED)
    assert journal.events(run.id) == [
        EventRow(
            id=run.event_id(place),
            run_id=run.id,
            sequence=place,
            state_type=kind,
            state_name=kind.title(),
            occurred=run.moment(place),
            run_count=min(place, 1),
            message=None,
            error=None,
            follows=run.event_id(place - 1) if place else None,
        )
        for place, kind in enumerate(kinds)
    ]
    assert journal.deliveries(DeliveryQuery(run_id=run.id)) == [
        DeliveryRow(
            id=run.delivery_id(),
            event_id=run.event_id(),
            run_id=run.id,
            sequence=2,
            ordinal=0,
            hook="alerts:page",
            importable=True,
            status=D.DELIVERED,
            attempts=1,
            updated=run.moment(2),
        )
    ]
    assert journal.run(uuid7()) is None
    assert journal.events(uuid7()) == []


def test_the_parts_of_a_life_add_up(journal: Journal) -> None:
    """Name and parameters stay as they were told; the events of all parts are there."""
    run = ARun(named="brave-otter", facts="[null]")
    first = run.enter("P")
    run.named, run.facts = "", '[[{"a":1}]]'
    second = run.enter("R")
    run.facts = ""
    third = run.enter("F", state=b"FOops", events=f'!2\n["FOops",{2 * SECOND},null,"no","e"]')

    commit(journal, first)
    begun = journal.run(run.id)
    commit(journal, second, third)

    assert begun is not None
    assert (begun.name, begun.parameters, begun.state_name) == ("brave-otter", None, "Pending")
    row = journal.run(run.id)
    assert row is not None
    assert (row.name, row.parameters, row.state_name) == ("brave-otter", '[{"a":1}]', "Oops")
    assert (row.state_type, row.message, row.ended) == (StateType.FAILED, "no", run.moment(2))
    assert [event.sequence for event in journal.events(run.id)] == [0, 1, 2]
    assert journal.events(run.id)[2].error == "e"


def test_an_older_record_changes_nothing(journal: Journal) -> None:
    """A commit whose outcome is not known may be repeated, and so may a part of it."""
    run = ARun()
    parts = [run.enter("P"), run.enter("R"), run.enter("C", HOOK), run.acknowledge(1, 1)]
    commit(journal, *parts)
    before = journal.run(run.id), journal.events(run.id), journal.deliveries(DeliveryQuery())

    commit(journal, *parts)
    commit(journal, parts[0])
    commit(journal, *parts[:3])

    assert before == (
        *(journal.run(run.id), journal.events(run.id)),
        journal.deliveries(DeliveryQuery()),
    )
    assert journal.statistics().events == 3
    assert len(journal.events_after(START, 99)[0]) == 3


@pytest.mark.parametrize("size", [1, 2, 3, 99])
def test_records_are_written_in_groups_of_any_size(journal: Journal, size: int) -> None:
    """However a segment is divided, the same is read back, also when it is written again."""
    fence = journal.register(an_owner())
    run, other = ARun(), ARun()
    parts = [run.enter("P"), run.enter("R"), other.enter("PR"), run.enter("C", HOOK, HOOK)]
    parts += [run.settle(D.FAILED), run.settle(D.DELIVERED, 2), run.acknowledge(2, 1)]
    parts += [run.acknowledge(2, 2, AT + 1), other.enter("F")]
    for _ in range(2):
        for start in range(0, len(parts), size):
            commit(journal, *parts[start : start + size], fence=fence)

    row = journal.run(run.id)
    assert row is not None
    assert (row.state_type, row.sequence) == (StateType.COMPLETED, 2)
    assert [event.sequence for event in journal.events(run.id)] == [0, 1, 2]
    deliveries = journal.deliveries(DeliveryQuery(run_id=run.id))
    assert [(each.status, each.attempts) for each in deliveries] == [
        (D.DELIVERED, 2),
        (D.DELIVERED, 1),
    ]
    assert [event.sequence for event in journal.events(other.id)] == [0, 1, 2]
    assert journal.verify() == []


def test_many_runs_are_written_at_once(journal: Journal) -> None:
    """With what is owed to hooks, and the status of deliveries of earlier groups."""
    fence = journal.register(an_owner())
    made = [a_completed_run(HOOK, done=0) for _ in range(1337)]
    commit(journal, *(records for _, records in made), fence=fence)
    commit(journal, *(run.settle(D.FAILED, 2, due=AT, error="no") for run, _ in made), fence=fence)
    first, _ = made[0]
    commit(journal, first.settle(D.DELIVERED, 3, updated=AT + 1), fence=fence)

    assert journal.statistics().runs == len(made)
    assert journal.statistics().events == 3 * len(made)
    assert journal.statistics().deliveries == {"delivered": 1, "failed": 1336}
    rows = journal.deliveries(DeliveryQuery(limit=9999))
    assert [row.run_id for row in rows] == [run.id for run, _ in made]
    assert (rows[0].status, rows[0].attempts, rows[0].error) == (D.DELIVERED, 3, None)
    assert {(row.status, row.attempts, row.due, row.error) for row in rows[1:]} == {
        (D.FAILED, 2, NOW, "no")
    }


def test_a_hole_hides_nothing(journal: Journal) -> None:
    """Zeros, of what was never finished, are passed over; the records behind them are written."""
    before, after = ARun(), ARun()
    group = Group.read(before.described + before.enter("P") + after.enter("P"))
    behind = group.data.index(after.number.to_bytes(16)) - CONTENT
    data = group.data[:behind] + bytes(100) + group.data[behind:]

    journal.commit(group._replace(data=data), "owner", journal.register(an_owner()))

    assert set(ids(journal.runs(RunQuery()))) == {before.id, after.id}


def test_a_group_is_written_whole_or_not_at_all(journal: Journal) -> None:
    """A fence that is not in force keeps it out."""
    run = ARun()
    fence = journal.register(an_owner())
    journal.end("owner", "vanished")

    with pytest.raises(StaleOwnerError):
        commit(journal, run.enter("P", HOOK), run.settle(D.FAILED), fence=fence)
    with pytest.raises(StaleOwnerError):
        commit(journal, run.settle(D.FAILED), fence=fence)

    assert journal.run(run.id) is None
    assert journal.statistics().deliveries == {}
    assert journal.events_after(START, 9)[0] == []


def test_a_group_that_cannot_be_stored_changes_nothing(journal: Journal) -> None:
    """Without the record that cannot be, it is stored."""
    fence = journal.register(an_owner())
    runs = [ARun(), ARun()]
    bad = pack("S", ["no digits", 1, 0, "hook", 1, "failed", 1, AT, None, None])

    good = [run.enter("P") for run in runs]
    with pytest.raises(UnstorableError):
        commit(journal, good[0], bad, good[1], fence=fence)
    assert journal.runs(RunQuery()) == []

    commit(journal, *good, fence=fence)
    assert set(ids(journal.runs(RunQuery()))) == set(ids(runs))


def test_nothing_can_be_written(journal: Journal) -> None:
    """No error is raised."""
    journal.commit(Group(b"", 0), "owner", journal.register(an_owner()))

    assert journal.statistics().events == 0


def test_text_that_cannot_be_stored_is_sanitized(journal: Journal) -> None:
    """A strange character never keeps a definition or an owner out of the journal."""
    run = ARun(version="a \0 byte")
    owner = an_owner(cwd="/lone \ud800 surrogate")

    commit(journal, run.enter("P"))
    fence = journal.register(owner)

    row = journal.run(run.id)
    assert row is not None
    assert row.version in {"a \0 byte", "a \ufffd byte"}
    (stored,) = [each for each in journal.owners() if each.token == fence.token]
    assert stored.cwd == "/lone \ufffd\ufffd\ufffd surrogate"
    assert stored == owner._replace(cwd=stored.cwd, token=fence.token)


def test_a_run_of_an_unknown_definition_is_there(journal: Journal) -> None:
    """Its name and its definition are made up."""
    run = ARun()
    run.described = b""
    commit(journal, run.enter("P"))

    row = journal.run(run.id)
    assert row is not None
    assert (row.definition, row.name) == ("unknown", f"unknown-{run.id.hex[-3:]}")
    assert ids(journal.runs(RunQuery())) == [run.id]


def test_runs_are_selected_by_their_fields(journal: Journal) -> None:
    """Every field of a query narrows the answer; the newest come first."""
    flow = ARun(number=1, run_type="flow", name="etl", created=NOW - timedelta(days=1))
    task = ARun(number=2, parent=flow, name="extract")
    nested = ARun(number=3, parent=task, name="load[1]", facts=f'[null,"{flow.id.hex}"]')
    child = ARun(number=1, run_type="flow", parent=flow, name="etl")
    called = ARun(number=2, parent=child)
    commit(journal, flow.enter("P"), nested.enter("PRC"), child.enter("PRF"), called.enter("PR"))
    commit(journal, task.enter("PR"), owner="other")

    def selected(**query: Any) -> list[UUID]:
        return ids(journal.runs(RunQuery(**query)))

    everything = ids([called, child, nested, task, flow])
    assert selected() == everything
    assert selected(limit=1) == [called.id]
    assert selected(run_type="flow") == ids([child, flow])
    assert selected(state_types=[StateType.COMPLETED, StateType.FAILED]) == ids([child, nested])
    assert selected(state_types=[StateType.FAILED]) == [child.id]
    assert selected(state_names=["Completed", "Oops"]) == [nested.id]
    assert selected(state_names=["Oops"], state_types=[StateType.RUNNING]) == ids([called, task])
    assert selected(definition="e*t*") == ids([called, child, task, flow])
    assert selected(definition="l?ad[[]1]") == [nested.id]
    assert selected(definition="[!e]*") == [nested.id]
    assert selected(unfinished=True) == ids([called, task, flow])
    assert selected(parent_run_id=flow.id) == ids([child, task])
    assert selected(flow_run_id=flow.id) == ids([nested, task, flow])
    assert selected(top=True) == [flow.id]
    assert selected(keeper="other") == [task.id]
    assert selected(since=NOW) == everything[:-1]
    assert selected(id_part=flow.id.hex[:30]) == selected(id_part=flow.id.hex[5:]) == [flow.id]


def test_runs_are_selected_by_their_name(journal: Journal) -> None:
    """Also by the usual one, which is not stored."""
    usual, named = ARun(), ARun(named="brave-otter")
    commit(journal, usual.enter("P"), named.enter("P"))
    name = f"extract-{usual.id.hex[-3:]}"

    assert ids(journal.runs(RunQuery(name=name))) == [usual.id]
    assert ids(journal.runs(RunQuery(name="brave-otter"))) == [named.id]
    assert journal.runs(RunQuery(name="extract-")) == []
    assert journal.runs(RunQuery(name=f"load-{usual.id.hex[-3:]}")) == []


def test_a_state_of_an_unusual_name_is_selected_by_it(journal: Journal) -> None:
    """And by its type; not by the name of another state."""
    run = ARun()
    commit(journal, run.enter("F", state=b"FTimedOut", events='["FTimedOut",0]'))

    assert ids(journal.runs(RunQuery(state_names=["TimedOut"]))) == [run.id]
    assert ids(journal.runs(RunQuery(state_types=[StateType.FAILED]))) == [run.id]
    assert journal.runs(RunQuery(state_names=["Failed"])) == []


@pytest.mark.parametrize(
    ("run_type", "facts", "flow", "root"),
    [
        ("task", "", "parent", "parent"),
        ("task", '[null,""]', None, "parent"),
        ("task", '[null,"","%s"]', None, "other"),
        ("task", '[null,null,"%s"]', "parent", "other"),
        ("flow", "", "own", "parent"),
        ("flow", '[null,null,"%s"]', "own", "other"),
    ],
)
def test_the_runs_above_are_told_if_they_are_unusual(
    journal: Journal, run_type: str, facts: str, flow: str | None, root: str | None
) -> None:
    """The flow run and the root flow run; usually both are the parent."""
    parent, other = uuid7(), uuid7()
    run = ARun(run_type=run_type, facts=facts % other.hex if "%" in facts else facts)
    commit(journal, run.enter("P", parent=parent.int))
    ids_by_name = {"parent": parent, "other": other, "own": run.id, None: None}

    row = journal.run(run.id)

    assert row is not None
    assert (row.parent_run_id, row.flow_run_id) == (parent, ids_by_name[flow])
    assert row.root_flow_run_id == ids_by_name[root]


def test_events_are_followed_with_a_cursor(journal: Journal) -> None:
    """They come in the order of commits, each event once, and none at the end."""
    runs = [ARun() for _ in range(5)]
    for run in runs[:3]:
        commit(journal, run.enter("PR"))
    commit(journal, *(run.enter("PR") for run in runs[3:]))

    found: list[UUID] = []
    cursor = START
    while True:
        events, cursor = journal.events_after(cursor, 3)
        found += [event.run_id for event in events if isinstance(event, EventRow)]
        if len(events) < 3:
            break

    assert found == [run.id for run in runs for _ in range(2)]
    assert journal.events_after(cursor, 3) == ([], cursor)
    assert journal.events_after(journal.cursor(), 3)[0] == []
    commit(journal, runs[0].enter("C"))
    assert [event.id for event in journal.events_after(cursor, 3)[0]] == [runs[0].event_id()]


def test_an_event_is_followed_as_it_is_read_with_its_run(journal: Journal) -> None:
    """Though the record says nothing of earlier parts of the life of the run."""
    run = ARun()
    own = uuid7()
    commit(journal, run.enter("PR", events=f'P0\n["R",{SECOND},5,null,null,"{own.hex}"]'))
    _, cursor = journal.events_after(START, 9)
    commit(journal, run.enter("RC"))

    followed, _ = journal.events_after(cursor, 9)

    assert followed == journal.events(run.id)[2:]
    assert [(event.run_count, event.follows) for event in journal.events(run.id)[2:]] == [
        (6, own),
        (6, run.event_id(2)),
    ]


def test_a_users_own_event_is_followed(journal: Journal) -> None:
    """Among those of runs."""
    run, key = ARun(), uuid7()
    commit(journal, pack("E", [key.hex, "my.order", AT, '{"number":1}']), run.enter("P"))

    events, _ = journal.events_after(START, 9)

    assert events == [OwnEvent(key, "my.order", NOW, '{"number":1}'), *journal.events(run.id)]


def test_there_is_a_cursor_for_a_moment(journal: Journal) -> None:
    """Everything that was committed since then comes after it."""
    run = ARun()
    commit(journal, run.enter("P"))
    now = run.moment() + timedelta(days=365 * 100)

    past, _ = journal.events_after(journal.cursor(NOW), 10)

    assert ids(past) == [run.event_id()]
    assert journal.events_after(journal.cursor(now), 10)[0] == []


def test_an_event_wakes_the_waiting(journal: Journal) -> None:
    """`wait` returns at the next commit, and returns False if there is none."""
    cursor = journal.cursor()
    woken: list[bool] = []
    waiter = threading.Thread(target=lambda: woken.append(journal.wait(cursor, 60)))
    waiter.start()

    commit(journal, ARun().enter("P"), fence=journal.register(an_owner()))
    waiter.join(60)

    assert woken == [True]
    assert not journal.wait(journal.cursor(), 0.01)


def test_a_closed_journal_opens_again(journal: Journal) -> None:
    """Closing releases files and connections, and loses nothing."""
    run = ARun()
    commit(journal, run.enter("P"))

    journal.close()
    journal.close()

    assert ids(journal.runs(RunQuery())) == [run.id]


@settings(
    max_examples=30,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(owner=owners)
def test_every_owner_is_read_back_as_it_was(journal: Journal, owner: OwnerRow) -> None:
    """Whatever values it has."""
    fence = journal.register(owner)

    plain = owner._replace(token=fence.token, lease_until=None, ended=None, reason=None)
    assert plain in journal.owners()


def test_definitions_of_two_owners_are_told_apart(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """Each owner counts its own from 1 on; the first record of a number holds."""
    runs = [ARun(name="one"), ARun(name="two")]
    with caplog.at_level(logging.WARNING):
        commit(journal, runs[0].enter("P"), owner="first")
        commit(journal, runs[1].enter("P"), a_definition(name="three"), owner="second")

    rows = [journal.run(run.id) for run in runs]
    assert [(row.owner, row.definition) for row in rows if row] == [
        ("first", "one"),
        ("second", "two"),
    ]
    assert caplog.text == ""
