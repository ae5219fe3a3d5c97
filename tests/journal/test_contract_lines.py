"""The contract of the lines that are logged in runs: what is kept, and for how long."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflow.journal import open_journal
from eventflow.journal.contract import START, Group, Journal, StaleOwnerError
from eventflow.journal.stores import database, writing
from eventflow.settings import EVENTFLOW_KEPT_LOG_BYTES, temporary_settings
from tests.journal.logged import line, lines
from tests.journal.rows import AT, NOW, SECOND, ARun, a_completed_run, an_owner, commit


def kept(journal: Journal, run: ARun) -> dict[int, str]:
    """Return the messages that are kept of a run, by their sequence."""
    return {row.sequence: row.message for row in journal.lines(run.id, limit=10_000)}


def test_a_line_is_kept_with_its_run(journal: Journal) -> None:
    """As it was logged, in the order in which lines were committed, counted from 1."""
    run, records = a_completed_run()
    other, more = a_completed_run()
    error = "Traceback:\nValueError: no"
    row = line(run, "bad row 7", level=40, logger="etl.load", error=error)
    commit(journal, records, more, row, lines(other, "x"))
    commit(journal, line(run, "next", at=AT - SECOND))

    first, second = journal.lines(run.id)

    assert first == (run.id, 1, NOW, 40, "etl.load", "bad row 7", error)
    assert second == (run.id, 2, NOW - timedelta(seconds=1), 20, "lib", "next", None)
    assert kept(journal, other) == {1: "x"}
    assert journal.lines(run.id, after=1) == [second]
    assert journal.lines(run.id, limit=1) == [first]
    assert journal.verify() == []


def test_lines_are_counted_for_a_run_and_what_it_called(journal: Journal) -> None:
    """Those that are not kept are counted as well."""
    run, records = a_completed_run()
    child, more = a_completed_run(parent=run)
    silent, others = a_completed_run(parent=run)
    grandchild, last = a_completed_run(parent=child)
    commit(journal, records, more, others, last, lines(run, *"ab"), lines(grandchild, "c"))
    commit(journal, line(child, "d", skipped=4))

    assert journal.logged(run.id) == {run.id: 2, child.id: 5, grandchild.id: 1}
    assert journal.logged(child.id) == {child.id: 5, grandchild.id: 1}
    assert journal.logged(child.id, own=True) == {child.id: 5}
    assert journal.logged(silent.id) == journal.logged(silent.id, own=True) == {}
    assert kept(journal, child) == {5: "d"}


def test_a_commit_that_is_repeated_adds_no_line_twice(journal: Journal) -> None:
    """Nor one that has lines of the last one and further ones."""
    run, records = a_completed_run()
    first, second = lines(run, "a", "b"), lines(run, "c")
    commit(journal, records, first)
    commit(journal, first)
    commit(journal, first, second)
    # An append that is interrupted is repeated.
    last = lines(run, "d")
    commit(journal, last, last)

    assert kept(journal, run) == {1: "a", 2: "b", 3: "c", 4: "d"}


def test_owners_count_their_lines_alone(journal: Journal) -> None:
    """A forked child, or a recovery, adds lines to the run of another owner."""
    run, records = a_completed_run()
    commit(journal, records, line(run, "a", number=100))
    commit(journal, line(run, "b", number=1), owner="child")
    commit(journal, line(run, "c", number=101))
    commit(journal, line(run, "d", number=2), owner="child")

    assert [*kept(journal, run).values()] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("scheme", ["sqlite", "postgresql"])
def test_owners_add_lines_to_the_same_runs_at_once(
    scheme: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Each line has a number of its own, and none is lost, in whatever order they name the runs."""
    sqlite = scheme == "sqlite"
    url = f"sqlite:///{tmp_path}/j.db" if sqlite else request.getfixturevalue("postgres_url")
    journals = [open_journal(url) for _ in range(3)]
    runs = [a_completed_run() for _ in range(3)]
    commit(journals[0], *(records for _, records in runs))
    barrier = threading.Barrier(len(journals))

    def add(place: int) -> None:
        for turn in range(20):
            barrier.wait(60)
            some = [line(run, f"{place}.{turn}") for run, _ in runs]
            commit(journals[place], *(some[turn % 3 :] + some[: turn % 3]), owner=f"owner-{place}")

    with ThreadPoolExecutor(len(journals)) as pool:
        [*pool.map(add, range(len(journals)))]

    expected = sorted(f"{place}.{turn}" for place in range(3) for turn in range(20))
    for run, _ in runs:
        found = kept(journals[0], run)
        assert [*found] == [*range(1, 61)]
        assert sorted(found.values()) == expected
        for place in range(3):
            own = [text for text in found.values() if text.startswith(f"{place}.")]
            assert own == [f"{place}.{turn}" for turn in range(20)]
    for journal in journals:
        journal.close()


def test_an_owner_that_counts_as_dead_adds_no_line(journal: Journal) -> None:
    """It is refused as a whole."""
    run, records = a_completed_run()
    fence = journal.register(an_owner("late"))
    commit(journal, records, lines(run, "a"), fence=fence)
    journal.end("late", "silent")

    with pytest.raises(StaleOwnerError):
        commit(journal, lines(run, "b"), fence=fence)

    assert kept(journal, run) == {1: "a"}


def test_a_text_that_a_database_cannot_hold_is_kept_as_far_as_possible(journal: Journal) -> None:
    """A NUL, for example."""
    run, records = a_completed_run()
    commit(journal, records, lines(run, "a\0b", "c"))

    assert [text.strip("\0\ufffd") for text in kept(journal, run).values()][1] == "c"
    assert len(kept(journal, run)) == 2


# -- how much is kept ----------------------------------------------------------------------------


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the first two and the last three lines of a run be kept."""
    monkeypatch.setattr(writing, "FIRST_LINES", 2)
    monkeypatch.setattr(writing, "LAST_LINES", 3)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("size", [1, 2, 7, 20])
def test_the_first_and_the_last_lines_are_kept(journal: Journal, size: int) -> None:
    """However many come at once."""
    run, records = a_completed_run()
    commit(journal, records)
    for start in range(0, 20, size):
        commit(journal, lines(run, *range(start, min(20, start + size))))

    assert kept(journal, run) == {1: "0", 2: "1", 18: "17", 19: "18", 20: "19"}
    assert journal.logged(run.id) == {run.id: 20}
    assert journal.verify() == []


@given(sizes=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 4)), max_size=8))
def test_what_is_left_out_is_known(sizes: list[tuple[int, int]]) -> None:
    """Whatever comes at once, and whatever was not recorded: the numbers of lines tell."""
    first, last = writing.FIRST_LINES, writing.LAST_LINES
    writing.FIRST_LINES, writing.LAST_LINES = 4, 6  # type: ignore[misc]
    try:
        journal = open_journal("memory://")
        run, records = a_completed_run()
        commit(journal, records)
        expected: list[str | None] = []
        for size, skipped in sizes:
            texts = [str(len(expected) + skipped + place) for place in range(size)]
            expected += [*[None] * skipped, *texts]
            commit(journal, line(run, texts[0], skipped=skipped), lines(run, *texts[1:]))
        numbered = {place: text for place, text in enumerate(expected, 1) if text is not None}
        total = len(expected)

        assert kept(journal, run) == {
            place: text for place, text in numbered.items() if place <= 4 or place > total - 6
        }
        assert journal.logged(run.id) == ({run.id: total} if total else {})
        assert journal.verify() == []
    finally:
        writing.FIRST_LINES, writing.LAST_LINES = first, last  # type: ignore[misc]


@pytest.mark.parametrize("scheme", ["memory", "sqlite", "postgresql"])
def test_the_lines_of_the_oldest_runs_make_room(
    scheme: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many runs as need be, all lines of each; that they have logged stays known."""
    monkeypatch.setattr(database, "TRIM_BYTES", 0)
    with temporary_settings({EVENTFLOW_KEPT_LOG_BYTES: 2_500}):
        urls = {
            "memory": "memory://",
            "sqlite": f"sqlite:///{request.getfixturevalue('tmp_path')}/j.db",
        }
        journal = open_journal(urls.get(scheme) or request.getfixturevalue("postgres_url"))
    runs = [a_completed_run() for _ in range(4)]
    for run, records in runs:
        commit(journal, records, lines(run, "x" * 900))

    assert [len(kept(journal, run)) for run, _ in runs] == [0, 0, 1, 1]
    assert journal.logged(runs[0][0].id) == {runs[0][0].id: 1}
    assert journal.verify() == []
    journal.close()


def test_lines_are_deleted_with_their_run(journal: Journal) -> None:
    """Those of runs that stay are kept."""
    old, records = a_completed_run(created=NOW - timedelta(days=9))
    young, more = a_completed_run()
    commit(journal, records, more, lines(old, "a"), lines(young, "b"))

    journal.prune(older_than=NOW - timedelta(days=1))

    assert kept(journal, old) == {}
    assert journal.logged(old.id) == {}
    assert kept(journal, young) == {1: "b"}
    assert journal.verify() == []
    journal.prune(older_than=datetime.now(UTC))
    assert kept(journal, young) == {}


def test_lines_take_no_room_in_the_feed(journal: Journal) -> None:
    """It has the transitions that were committed with them."""
    run, records = a_completed_run()
    text = "SELECT data FROM @feed"
    commit(journal, lines(run, "before"), records, lines(run, "after"))
    commit(journal, lines(run, "alone"))

    events, _ = journal.events_after(START, 10)
    groups = journal.read(lambda session: session.all(text))  # type: ignore[attr-defined]

    assert [event.id for event in events] == [run.event_id(sequence) for sequence in range(3)]
    assert len(groups) == 1
    assert b"lib" not in bytes(groups[0][0])
    assert Group.read(bytes(groups[0][0])).runs == 1


def test_lines_of_unknown_runs_are_found(journal: Journal) -> None:
    """And more lines than were counted."""
    unknown, (run, records) = ARun(), a_completed_run()
    commit(journal, records, lines(unknown, "a", "b"), lines(run, "c"))
    text = "UPDATE @logs SET sequence = 9 WHERE run_id = ?"
    journal.transact(lambda session: session.run(text, (session.id(run.number),)))  # type: ignore[attr-defined]

    found = {(finding.kind, finding.run_id): finding.message for finding in journal.verify()}

    assert found == {
        ("orphan lines", unknown.id): "is not known, but has logged 2 lines",
        ("odd lines", run.id): "has a line 9 of the 1 that it has logged",
    }
