"""The contract of every journal: sets of hooks, and which of them a run is subject to."""

from __future__ import annotations

import pytest

from eventflow.journal.contract import Journal
from eventflow.journal.format import JournalLine
from eventflow.journal.rows import RunRow
from eventflow.states import StateType
from tests.journal.rows import a_run, an_owner, entering, later


def naming(run: RunRow) -> tuple[str | None, str | None]:
    """Return the sets that a run names."""
    return run.hooks, run.global_hooks


def stored(journal: Journal, run: RunRow) -> tuple[str | None, str | None]:
    """Return the sets that a run names in the journal."""
    row = journal.run(run.id)
    assert row is not None
    return naming(row)


def changing(*changes: list[str | None]) -> JournalLine:
    """Make a line that exchanges sets."""
    return JournalLine.of({"hook_changes": [*changes]})


def test_sets_are_kept_by_owner(journal: Journal) -> None:
    """Each once, however often it is written, and without those of another owner."""
    sets = [["one", "a", '{"hooks":[]}'], ["one", "b", "ü"], ["two", "a", "other"]]
    for _ in range(2):
        journal.commit_lines([JournalLine.of({"hook_sets": sets})])

    assert journal.hook_sets("one") == {"a": '{"hooks":[]}', "b": "ü"}
    assert journal.hook_sets("two") == {"a": "other"}
    assert journal.hook_sets("none") == {}


def test_sets_are_deleted_with_their_owner(journal: Journal) -> None:
    """Not before: its next run may name a set that was written long ago."""
    journal.register(an_owner("one"))
    journal.commit_lines([JournalLine.of({"hook_sets": [["one", "a", "text"]]})])
    journal.prune(max_bytes=0)
    assert journal.hook_sets("one") == {"a": "text"}

    journal.end("one", "ended")
    assert journal.prune(max_bytes=0).owners == 1
    assert journal.hook_sets("one") == {}


@pytest.mark.parametrize("together", [True, False])
def test_a_change_holds_for_the_runs_of_a_definition(journal: Journal, together: bool) -> None:
    """For those of its owner that have not ended and named the old set; a newer row names it."""
    run = a_run(owner="one", reference="etl:f", hooks="a", global_hooks="g")
    others = [
        run._replace(id=a_run().id, **facts)
        for facts in (
            {"owner": "two"},
            {"reference": "etl:g"},
            {"hooks": "c"},
            {"hooks": None},
            {"ended": run.created},
        )
    ]
    newer = later(run, StateType.RUNNING)._replace(id=a_run().id, hooks="b")
    lines = [
        *(entering(each) for each in (run, *others)),
        changing(["one", "etl:f", "a", "b"]),
        entering(newer),
    ]
    for group in [lines] if together else [[line] for line in lines]:
        journal.commit_lines(group)

    assert stored(journal, run) == ("b", "g")
    assert stored(journal, newer) == ("b", "g")
    assert [stored(journal, other) for other in others] == [naming(other) for other in others]


def test_a_change_of_a_bus_holds_for_all_its_runs(journal: Journal) -> None:
    """Whatever their definition; the runs on another bus name another set."""
    runs = [a_run(owner="one", reference=name, hooks="a", global_hooks="g") for name in "fg"]
    other = a_run(owner="one", reference="f", hooks="a", global_hooks="h")
    journal.commit_lines([entering(run) for run in (*runs, other)])
    journal.commit_lines([changing(["one", None, "g", "i"], ["one", None, "i", "j"])])

    assert [stored(journal, run) for run in runs] == [("a", "j")] * 2
    assert stored(journal, other) == ("a", "h")


def test_a_recovery_leaves_the_sets_as_they_are(journal: Journal) -> None:
    """Its rows of the runs of another owner name none."""
    run = a_run(owner="one", hooks="a", global_hooks="g")
    journal.commit_lines([entering(run)])
    journal.commit_lines(
        [entering(later(run, StateType.RUNNING)._replace(hooks=None, global_hooks=None))]
    )

    assert stored(journal, run) == ("a", "g")
