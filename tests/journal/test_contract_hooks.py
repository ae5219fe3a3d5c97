"""Every journal knows which hooks a run is subject to, also those declared meanwhile."""

from __future__ import annotations

import pytest

from eventflow.journal.contract import Journal
from eventflow.journal.records import pack
from tests.journal.rows import ARun, a_completed_run, a_definition, an_owner, commit


def sets_of(journal: Journal, run: ARun) -> tuple[str | None, str | None]:
    row = journal.run(run.id)
    assert row is not None

    return row.hooks, row.global_hooks


def test_the_sets_of_an_owner_are_kept_until_it_is_pruned(journal: Journal) -> None:
    """As texts by their id: a run may name a set that was written long ago."""
    journal.register(an_owner("one"))
    commit(journal, pack("H", ["a", "text"]), pack("H", ["a", "text"]), owner="one")
    commit(journal, pack("H", ["b", "other"]), owner="two")
    journal.prune(max_bytes=0)
    assert journal.hook_sets("one") == {"a": "text"}

    journal.end("one", "ended")
    assert journal.prune(max_bytes=0).owners >= 1
    assert journal.hook_sets("one") == {}


@pytest.mark.parametrize("together", [True, False])
def test_a_change_holds_for_the_runs_of_a_definition(journal: Journal, together: bool) -> None:
    """For those of its owner that have not ended; a newer run names the new definition."""
    run, ended, newer = ARun(hooks="a"), a_completed_run(hooks="a"), ARun(number=2, hooks="b")
    of_another = ARun(number=3, hooks="a")
    theirs = ARun(hooks="a")
    commit(journal, theirs.enter("P"), owner="two")
    parts = [run.enter("P"), ended[1], of_another.enter("P"), a_definition(2, hooks="b")]
    parts += [pack("C", [1, 2]), newer.enter("P")]
    for group in [parts] if together else [[part] for part in parts]:
        commit(journal, *group)

    assert sets_of(journal, run) == sets_of(journal, newer) == ("b", "")
    for other in (ended[0], of_another, theirs):
        assert sets_of(journal, other) == ("a", "")


def test_a_recovery_leaves_the_sets_as_they_are(journal: Journal) -> None:
    """Its records of the runs of another owner are of a definition of its own."""
    run = ARun(hooks="a", global_hooks="g")
    commit(journal, run.enter("P"), owner="one")
    run.described = a_definition(hooks="x")
    commit(journal, run.enter("X"), owner="two")

    assert sets_of(journal, run) == ("a", "g")
