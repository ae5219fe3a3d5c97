"""Notes that a run has begun: others take them for a record of the run, its owner does not."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from eventflow.journal.contract import Group, Journal
from eventflow.journal.records import BEGUN, RunRecord, scan
from eventflow.journal.wal.beginnings import left, pack_begun
from tests.journal.rows import AT, HOOK, ARun, commit

SEQUENCES = [0, 1, 2]


def begun(run: ARun) -> bytes:
    """Make the note that a run has begun, as its first records would tell it."""
    parent = 0 if run.parent is None else run.parent.number
    name, facts = run.named.encode(), run.facts.encode()
    note = (run.number, parent, run.definition, run.created, run.at(1), name + facts, len(name))

    return run.described + pack_begun(*note)


def take_in(journal: Journal, *records: bytes) -> None:
    """Commit what another process has left."""
    journal.commit(left(b"".join(records)), "owner")


def sequences(journal: Journal, run: ARun) -> list[int]:
    return [event.sequence for event in journal.events(run.id)]


def facts_of(journal: Journal, run: ARun) -> list[Any]:
    row = journal.run(run.id)
    assert row is not None
    events = [(each.state_name, each.occurred, each.run_count) for each in journal.events(run.id)]

    return [row._replace(owner=""), *events]


def test_a_note_that_nothing_follows_stands_for_the_run(journal: Journal) -> None:
    """As a record of its first two transitions would."""
    parent = ARun()
    run, other = ARun(parent=parent, named="Zoë's"), ARun(parent=parent, named="Zoë's")
    take_in(journal, begun(run))
    commit(journal, other.enter("PR"))

    expected = facts_of(journal, other)
    expected[0] = expected[0]._replace(id=run.id, state_id=run.event_id(1))
    assert facts_of(journal, run) == expected


def test_the_whole_life_of_a_run_replaces_what_was_noted(journal: Journal) -> None:
    """It is recorded by its owner, who knows of no other record; also with hooks."""
    run, other = ARun(), ARun()
    take_in(journal, begun(run), begun(other))
    commit(journal, run.enter("PRC"), other.enter("PRF", HOOK, done=1))

    for each in (run, other):
        assert sequences(journal, each) == SEQUENCES
    assert journal.verify() == []


def test_a_record_continues_what_was_noted(journal: Journal) -> None:
    """As it would continue a record."""
    run = ARun()
    take_in(journal, begun(run))
    commit(journal, run.enter("PR"))
    commit(journal, run.enter("C"))

    assert sequences(journal, run) == SEQUENCES


def test_what_was_noted_changes_no_run_that_is_known(journal: Journal) -> None:
    """However far that is."""
    runs = ARun(), ARun()
    commit(journal, runs[0].enter("PR"), runs[1].enter("PRC"))
    before = [facts_of(journal, run) for run in runs]
    take_in(journal, *map(begun, runs))

    assert [facts_of(journal, run) for run in runs] == before


def test_the_owner_itself_skips_a_note(journal: Journal) -> None:
    """Wherever that is among its records, which are all written."""
    runs = [ARun() for _ in range(3)]
    first, second, third = map(begun, runs)
    commit(journal, first, runs[1].enter("PRC"), second, runs[2].enter("PRC"), third)

    assert journal.run(runs[0].id) is None
    assert [sequences(journal, run) for run in runs[1:]] == [SEQUENCES] * 2


def test_a_note_is_left_out_where_a_record_follows() -> None:
    """The records are those of the owner then, and nothing that was torn is among them."""
    run, torn = ARun(), ARun()
    ended = run.enter("PRC")
    data = begun(run) + ended + begun(torn)[:-1]

    group = left(data)
    assert (group.runs, [kind for kind, _ in group.others]) == (1, ["D", "D", "D"])
    assert [each.kind for each in scan(group.data)] == ["D", "D", "R", "D"]
    assert Group.read(data).runs == 1


@given(
    name=st.text(max_size=9),
    facts=st.text(min_size=1, max_size=99),
    number=st.integers(1, 10**9 - 1),
)
def test_a_note_tells_all_that_a_record_would(name: str, facts: str, number: int) -> None:
    """Whatever the name and the parameters are."""
    run = ARun(number=number, named=name, facts=facts)
    data = left(begun(run)).data
    (record,) = [each for each in scan(data) if each.kind == "R"]

    run.enter("PR")
    assert RunRecord.read(data, record.start, record.end) == RunRecord(
        *(run.number, 0, number, AT, 0, 1, 0, "R", name, facts, "P0R1000000"),
    )


def test_notes_are_no_records_of_runs() -> None:
    """For who reads what the owner itself will commit."""
    group = Group.read(begun(ARun()))

    assert (group.runs, [kind for kind, _ in group.others]) == (0, ["D"])
    assert [each.kind for each in scan(group.data)] == ["D", BEGUN]
