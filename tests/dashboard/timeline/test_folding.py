"""A timeline has a row for each run, or a group that counts it; nothing is left out."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventflow.dashboard.timeline import folding
from eventflow.dashboard.timeline.folding import BARS, Bar, Timeline, timeline_of
from eventflow.dashboard.timeline.groups import Group
from eventflow.journal.rows import StoredRun
from tests.dashboard.stored import (
    ROOT,
    a_root,
    a_run,
    a_timeline,
    after,
    calls,
    ids,
    spans,
    trees,
    when,
)


def counted(timeline: Timeline) -> Counter[str]:
    """Count the runs in the rows by state; those that are listed below their group once."""
    found: Counter[str] = Counter()
    for row in timeline.rows:
        if isinstance(row, Group):
            found.update(row.states)
        elif not row.is_listed:
            found[row.span.state] += 1

    return found


def named(timeline: Timeline) -> list[tuple[int, str]]:
    """Return depth and name of each row."""
    return [
        (row.depth, row.span.definition)
        if isinstance(row, Bar)
        else (row.depth, f"{row.count} {row.definition}")
        for row in timeline.rows
    ]


LIMITS = [(12, 2_000), (3, 2_000), (1, 2_000), (3, 8), (3, 2)]
"""From how many runs on they are folded, and how many rows there may be."""


@given(limits=st.sampled_from(LIMITS), runs=trees())
@settings(max_examples=200)
def test_every_run_counts_once(limits: tuple[int, int], runs: list[StoredRun]) -> None:
    """Whatever is folded, and however few rows there may be."""
    least, bars = limits
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(folding, "FOLDED_FROM", least)
        patched.setattr(folding, "BARS", bars)
        timeline = a_timeline(*runs)

    assert counted(timeline) == Counter(span.state for span in spans(*runs))
    assert timeline.count == len(runs)
    assert len(timeline.rows) <= max(bars, 2)
    assert isinstance(timeline.rows[0], Bar)
    assert timeline.rows[0].span.id == ROOT
    barred = [row.span.id for row in timeline.rows if isinstance(row, Bar)]
    assert len(barred) == len(set(barred))


def test_bars_are_in_the_order_of_time_below_their_caller() -> None:
    region = a_run(parent=ROOT, created=3, definition="region", run_type="flow")
    timeline = a_timeline(
        a_run(parent=region.id, created=4, definition="load"),
        region,
        a_run(parent=ROOT, created=5, definition="report"),
        *calls(2),
    )

    assert named(timeline) == [
        *((0, "etl"), (1, "extract"), (1, "extract"), (1, "region"), (2, "load"), (1, "report"))
    ]
    assert [row.is_caller for row in timeline.rows if isinstance(row, Bar)] == [
        *(True, False, False, True, False, False)
    ]


def test_runs_of_one_definition_fold_with_all_that_they_called() -> None:
    """From a number on, where the first of them would be; what they called is folded as well."""
    fetches = calls(20, definition="fetch")
    parts = [a_run(parent=run.id, definition="part") for run in fetches for _ in range(2)]
    timeline = a_timeline(
        *fetches, *parts, *calls(2), a_run(parent=ROOT, created=-1, definition="first")
    )

    assert named(timeline) == [
        *((0, "etl"), (1, "first"), (1, "20 fetch"), (2, "40 part"), (1, "extract")),
        (1, "extract"),
    ]


def test_the_first_failed_runs_of_a_group_have_a_bar_below_it() -> None:
    failed = [
        a_run("P0R0F1000000", parent=ROOT, created=place, definition="fetch") for place in range(7)
    ]
    timeline = a_timeline(*calls(20, definition="fetch"), *failed)

    group = timeline.rows[1]
    assert isinstance(group, Group)
    assert (group.count, sum(group.failures), group.listed) == (27, 7, 5)
    listed = [row for row in timeline.rows if isinstance(row, Bar) and row.is_listed]
    assert [row.span.id for row in listed] == [run.id for run in failed[:5]]
    assert ids(timeline.failures) == [run.id for run in failed]


def test_a_group_that_is_opened_has_a_bar_for_each_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many at a time: the others are a group that can be opened in its turn."""
    monkeypatch.setattr(folding, "OPENED", 13)
    runs = calls(30)
    first, rest = runs[0].id, runs[13].id
    closed = timeline_of(UUID(int=ROOT), [a_root(), *runs], when(60))
    assert named(closed) == [(0, "etl"), (1, "30 extract")]
    opened = timeline_of(UUID(int=ROOT), [a_root(), *runs], when(60), [first])
    bars = [(2, "extract")] * 13
    assert named(opened) == [(0, "etl"), (1, "30 extract"), *bars, (1, "17 extract")]
    groups = [row for row in opened.rows if isinstance(row, Group)]
    assert [(group.first, group.is_open) for group in groups] == [(first, True), (rest, False)]
    both = timeline_of(UUID(int=ROOT), [a_root(), *runs], when(60), [first, rest])
    assert sum(isinstance(row, Bar) for row in both.rows) == 1 + 13 + 13


def test_beyond_a_number_of_bars_there_are_only_groups() -> None:
    """Thousands of subflows, each of a definition of its own, with a task in each."""
    flows = [
        a_run(parent=ROOT, definition=f"f{place}", run_type="flow") for place in range(BARS // 2)
    ]
    few = a_timeline(*flows)
    many = a_timeline(*flows, *(a_run(parent=flow.id, definition="t") for flow in flows))

    assert not any(isinstance(row, Group) for row in few.rows)
    assert all(isinstance(row, Group) for row in many.rows[1:])
    assert len(many.rows) == 1 + len(flows) + 1
    assert counted(many) == {"Completed": 1 + 2 * len(flows)}


def test_more_definitions_than_there_may_be_rows_are_one_group() -> None:
    timeline = a_timeline(*(a_run(parent=ROOT, definition=f"t{place}") for place in range(BARS)))

    assert named(timeline) == [(0, "etl"), (1, f"{BARS} {BARS} definitions")]


def test_runs_may_call_each_other_at_any_depth() -> None:
    runs = [a_root(), *(a_run(number=number, parent=number - 1) for number in range(2, 1_900))]

    assert len(a_timeline(*runs).rows) == len(runs)


def test_a_wait_in_which_nothing_else_ran_is_folded() -> None:
    """The callers of what waits are Running all the time."""
    retried = a_run(
        'P0R0\n["SAwaitingRetry", 1000000]\n["RRetrying", 3601000000]\n["C", 3602000000]',
        parent=ROOT,
        state="C",
        ended=3_602,
    )
    timeline = a_timeline(a_root(3_602), retried)

    assert [fold.seconds for fold in timeline.scale.folds] == [3_600]


@pytest.mark.parametrize(("seconds", "folds"), [(30, []), (7_200, [7_200])])
def test_a_crash_that_was_noticed_late_is_folded(seconds: int, folds: list[float]) -> None:
    """How long the run was executed is not known then; soon after the crash it is."""
    crashed = a_run(f"P0R0X{seconds}000000", parent=ROOT, created=1)
    root = a_root(events=f"P0R0X{seconds + 1}000000")
    timeline = a_timeline(root, a_run(parent=ROOT, created=-1), crashed)

    assert [fold.seconds for fold in timeline.scale.folds] == folds


def test_what_has_not_ended_goes_on_until_now() -> None:
    root = a_run("P0R0", number=ROOT, run_type="flow")
    timeline = a_timeline(root, a_run("P0R0", parent=ROOT), now=30)

    assert (timeline.scale.begin, timeline.scale.end) == (after(0), after(30))
    assert {span.end for span in timeline.spans} == {after(30)}


def test_a_run_that_is_not_there_has_no_timeline() -> None:
    with pytest.raises(KeyError):
        timeline_of(UUID(int=77), [a_root()], when(0))
