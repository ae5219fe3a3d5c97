"""The contract of a tree: a run with all that it called, read by one query."""

from __future__ import annotations

from uuid import UUID

from eventflow.journal.contract import Journal
from eventflow.journal.history import run_row, transitions_of
from tests.journal.rows import ARun, commit


def test_a_tree_has_a_run_and_all_below_it(journal: Journal) -> None:
    """At every depth, of flows and tasks, in the order of their ids; and nothing beside it."""
    above = ARun(run_type="flow")
    root = ARun(parent=above, run_type="flow", number=2)
    children = [ARun(parent=root, number=3) for _ in range(3)]
    below = ARun(parent=children[1], number=3)
    beside = ARun(parent=above, number=3)
    for run in (below, *children, beside, root, above):
        commit(journal, run.enter("PRC"))

    assert [run.id for run in journal.tree(root.id)] == sorted(
        run.number for run in (root, *children, below)
    )
    assert [run.id for run in journal.tree(below.id)] == [below.number]
    assert journal.tree(UUID(int=7)) == []


def test_a_large_tree_is_read_in_part_and_counted_whole(journal: Journal) -> None:
    """Callers come before what they called; the counts are by definition and state."""
    root = ARun(run_type="flow", name="etl")
    children = [ARun(parent=root, number=2, name="extract") for _ in range(4)]
    below = ARun(parent=children[0], number=3, name="load")
    commit(journal, root.enter("PR"), *(run.enter("PRC") for run in children))
    commit(journal, below.enter("PRF"))

    some = {run.id for run in journal.tree(root.id, 3)}
    assert len(some) == 3
    assert root.number in some
    assert below.number not in some
    found = {(each.definition, each.state): each for each in journal.tally_tree(root.id)}
    assert {key: each.runs for key, each in found.items()} == {
        ("etl", "R"): 1,
        ("extract", "C"): 4,
        ("load", "F"): 1,
    }
    assert found["etl", "R"].end is None
    for each in found.values():
        assert each.begin <= (each.end or each.begin)
    assert journal.tally_tree(UUID(int=7)) == []


def test_the_runs_of_a_tree_have_what_is_read_of_each_alone(journal: Journal) -> None:
    """Their definitions, and all their events, also those that are not in their row."""
    root = ARun(run_type="flow", name="etl")
    child = ARun(parent=root, number=2)
    commit(journal, root.enter("PR"), child.enter("P"))
    for _ in range(200):
        commit(journal, child.enter("R"))
    commit(journal, child.enter("C"))

    found = journal.tree(root.id)

    assert [run_row(run) for run in found] == [journal.run(run.id) for run in (root, child)]
    assert [len(transitions_of(run)) for run in found] == [2, 202]
