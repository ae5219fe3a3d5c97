"""Every journal selects runs by tags, text, time and age, and counts what it selects."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import DeliveryQuery, Journal, RunQuery
from eventflow.journal.rows import FailedDeliveries
from eventflow.states import StateType
from tests.journal.rows import AT, HOOK, NOW, SECOND, ARun, commit, ids

HOSTILE = [
    "a%b",
    "a_b",
    "a*b",
    "a?b",
    "a[b]",
    'a"b',
    "a\\b",
    "a~b",
    "ä",
    "<b>",
    "'; DROP TABLE runs",
]


def failed(run: ARun, message: str) -> bytes:
    """Make the records of a run whose last state says this."""
    begun = run.enter("P") + run.enter("R")
    event = json.dumps(["F", 2 * SECOND, None, message], ensure_ascii=False)

    return begun + run.enter("F", events=event)


def selected(journal: Journal, **query: Any) -> list[UUID]:
    return ids(journal.runs(RunQuery(**query)))


@pytest.mark.parametrize("text", HOSTILE)
def test_a_tag_is_matched_as_it_is_written(journal: Journal, text: str) -> None:
    run = ARun(number=1, tags=["x", text])
    other = ARun(number=2, tags=[f"{text}y", "axb"])
    commit(journal, run.enter("P"), other.enter("P"))

    assert selected(journal, tags=[text]) == [run.id]
    assert selected(journal, tags=["x", text]) == [run.id]
    assert selected(journal, tags=["axb", text]) == []


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_is_part_of_a_name_or_of_what_a_state_says(journal: Journal, text: str) -> None:
    named = ARun(number=1, named=f"The {text.upper()} run")
    defined = ARun(number=2, name=f"load {text}s")
    said = ARun(number=3, named="c")
    other = ARun(number=4, named="a b", name="axb")
    commit(journal, named.enter("P"), defined.enter("P"), failed(said, f"No {text}."))
    commit(journal, failed(other, "axxb"))

    assert set(selected(journal, text=text)) >= {defined.id, said.id}
    assert other.id not in selected(journal, text=text)
    if text.isascii():
        assert named.id in selected(journal, text=text)


def test_times_are_included_on_both_sides(journal: Journal) -> None:
    now = datetime.now(UTC)
    runs = [ARun(created=now + timedelta(seconds=second)) for second in range(4)]
    for run in runs:
        commit(journal, run.enter("P"))
    first, last = now + timedelta(seconds=1), now + timedelta(seconds=2)

    assert set(selected(journal, since=first, until=last)) == {runs[1].id, runs[2].id}
    assert set(selected(journal, until=last)) == {run.id for run in runs[:3]}


def test_older_runs_are_those_before_another(journal: Journal) -> None:
    runs = [ARun() for _ in range(5)]
    for run in runs:
        commit(journal, run.enter("P"))
    newest = selected(journal, limit=2)

    assert newest == [runs[4].id, runs[3].id]
    assert selected(journal, before=newest[-1], limit=2) == [runs[2].id, runs[1].id]
    assert selected(journal, after=runs[1].id, before=newest[0]) == [runs[3].id, runs[2].id]
    assert selected(journal, skip=1, limit=2) == [runs[3].id, runs[2].id]
    assert selected(journal, skip=4) == [runs[0].id]
    assert selected(journal, skip=5) == []


def test_runs_are_counted_by_the_types_of_their_states(journal: Journal) -> None:
    """Of all that match, whatever states are asked for and however many are read."""
    parent = ARun(number=1, run_type="flow", name="etl")
    done = [ARun(number=2, parent=parent) for _ in range(3)]
    bad = [ARun(number=2, parent=parent) for _ in range(2)]
    commit(journal, parent.enter("P"))
    for run in done:
        commit(journal, run.enter("P"), run.enter("R"), run.enter("C"))
    for run in bad:
        commit(journal, failed(run, "no"))

    kinds = {StateType.COMPLETED: 3, StateType.FAILED: 2}
    assert journal.tally(RunQuery()) == {**kinds, StateType.PENDING: 1}
    of_parent = RunQuery(parent_run_id=parent.id, limit=1, state_types=[StateType.CRASHED])
    assert journal.tally(of_parent) == kinds
    assert journal.tally(RunQuery(top=True)) == {StateType.PENDING: 1}
    assert journal.tally(RunQuery(text="no")) == {StateType.FAILED: 2}
    assert journal.tally(RunQuery(definition="nothing")) == {}


def test_the_newest_runs_of_a_definition_are_those_of_all_its_owners(journal: Journal) -> None:
    """Each process has definitions of its own; the order is that of the runs."""
    runs = []
    for place in range(6):
        run = ARun(number=1, run_type="flow", name="etl", tags=["a"])
        commit(journal, run.enter("P"), owner=f"owner-{place % 3}")
        commit(journal, ARun(number=1, parent=run).enter("P"), owner="owner-4")
        runs.append(run.id)
    other = ARun(number=2, run_type="flow", name="other", tags=["a"])
    commit(journal, other.enter("P"), owner="owner-0")
    newest = runs[::-1]

    assert selected(journal, definition="etl", top=True) == newest
    assert selected(journal, definition="e*", top=True, limit=2) == newest[:2]
    assert selected(journal, definition="etl", top=True, before=newest[1], limit=3) == newest[2:5]
    assert selected(journal, tags=["a"], top=True) == [other.id, *newest]
    assert selected(journal, tags=["a"], top=True, state_types=[]) == [other.id, *newest]
    assert selected(journal, definition="etl", top=True, run_type="task") == []
    assert selected(journal, definition="nothing", top=True) == []


def test_hooks_that_fail_are_counted(journal: Journal) -> None:
    first, second = ARun(), ARun()
    for run in (first, second):
        commit(journal, run.enter("P") + run.enter("R") + run.enter("F", HOOK, done=1))
    assert journal.failed_by_hook() == []
    commit(journal, first.settle(DeliveryStatus.DEAD, 3, updated=AT))
    commit(journal, second.settle(DeliveryStatus.DEAD, 3, updated=AT + SECOND))
    (found,) = journal.failed_by_hook()

    assert found == FailedDeliveries(
        HOOK[0], DeliveryStatus.DEAD, 2, NOW, NOW + timedelta(seconds=1)
    )
    journal.redrive([each.id for each in journal.deliveries(DeliveryQuery())])
    assert journal.failed_by_hook() == []
