"""A group counts each of its runs, and its levels cover as much as its runs did."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventflow.dashboard.timeline.groups import SLOTS, group_of, levels_of, most_at_once, rests_of
from eventflow.dashboard.timeline.scale import scale_of
from eventflow.journal.rows import TalliedRuns
from tests.dashboard.stored import a_run, after, spans, trees

places = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(lambda pair: (min(pair), max(pair)))
moments = st.integers(0, 30)
stretches = st.lists(st.tuples(moments, moments).map(lambda pair: (min(pair), max(pair))))


@given(st.lists(places), st.integers(1, 300))
def test_levels_cover_as_much_as_what_they_are_of(
    covered: list[tuple[float, float]], slots: int
) -> None:
    levels = levels_of(covered, slots)

    assert len(levels) == slots
    assert all(-1e-6 <= level <= len(covered) + 1e-6 for level in levels)
    assert sum(levels) / slots == pytest.approx(sum(b - a for a, b in covered), abs=1e-6)


@given(st.lists(places), st.integers(1, 40), st.data())
def test_a_level_is_what_covers_its_slot(
    covered: list[tuple[float, float]], slots: int, data: st.DataObject
) -> None:
    slot = data.draw(st.integers(0, slots - 1))
    left, right = slot / slots, (slot + 1) / slots
    expected = sum(max(0.0, min(b, right) - max(a, left)) for a, b in covered)

    assert levels_of(covered, slots)[slot] / slots == pytest.approx(expected, abs=1e-6)


@given(stretches)
def test_it_is_counted_how_many_ran_at_once(times: list[tuple[int, int]]) -> None:
    """Of one that ends when another begins, and of one that takes no time, only one counts."""
    most = max((sum(a <= at < b for a, b in times) for at in range(30)), default=0)

    assert (
        most <= most_at_once(times) <= max(most, min(1, len(times))) + sum(a == b for a, b in times)
    )
    if all(a < b for a, b in times):
        assert most_at_once(times) == most


@settings(max_examples=30)
@given(trees())
def test_every_run_of_a_group_counts_once(runs: list[object]) -> None:
    found = spans(*runs)  # type: ignore[arg-type]
    group = group_of(found, scale_of(after(0), after(100), []), 1)

    assert group.count == sum(group.kinds.values()) == sum(group.states.values()) == len(found)
    assert sum(group.failures) == sum(span.kind in {"FAILED", "CRASHED"} for span in found)
    assert group.longest in found
    assert (group.begin, group.end) == (
        min(span.begin for span in found),
        max(span.end for span in found),
    )


def test_a_group_tells_when_how_many_ran_and_failed() -> None:
    runs = spans(
        a_run("P0R0C10000000"), a_run("P0R5000000F10000000"), a_run("P0R90000000C100000000")
    )
    group = group_of(runs, scale_of(after(0), after(100), [(after(0), after(100))]), 2, listed=1)

    assert group.states == {"Completed": 2, "Failed": 1}
    assert (group.at_once, group.listed, group.seconds) == (2, 1, 100)
    assert group.levels[0] == pytest.approx(1)
    assert group.levels[SLOTS // 10 - 1] == pytest.approx(2)
    assert group.levels[SLOTS // 2] == pytest.approx(0)
    assert [slot for slot, count in enumerate(group.failures) if count] == [SLOTS // 10]


def test_a_group_of_several_definitions_and_callers_names_none() -> None:
    runs = spans(a_run(parent=1), a_run(parent=2, definition="load"))
    group = group_of(runs, scale_of(after(0), after(2), []), 1)

    assert (group.definition, group.parent, group.first) == ("2 definitions", None, runs[0].id)


def test_what_was_not_read_is_counted() -> None:
    """By definition and state, less what was read; times are those of what was counted."""
    read = spans(a_run(definition="extract"), a_run("P0R0F9", definition="extract"))
    tallied = [
        TalliedRuns("task", "extract", "C", 5, 10, 30),
        TalliedRuns("task", "extract", "F", 1, 10, 20),
        TalliedRuns("task", "extract", "FTimedOut", 2, 5, 40),
        TalliedRuns("flow", "load", "R", 3, 7, None),
    ]
    extract, load = rests_of(tallied, read, now=50)
    assert extract.states == {"Completed": 4, "TimedOut": 2}
    assert (extract.count, extract.failed, extract.begin, extract.end) == (6, 2, 5, 40)
    assert (load.run_type, load.count, load.states, load.end) == ("flow", 3, {"Running": 3}, 50)
