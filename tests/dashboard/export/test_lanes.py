"""Nothing overlaps in a lane, and there are no more lanes than are needed."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from eventflow.dashboard.export.lanes import lanes_of
from eventflow.dashboard.timeline.groups import most_at_once

moments = st.integers(0, 50)
times = st.lists(st.tuples(moments, st.integers(1, 20)).map(lambda pair: (pair[0], sum(pair))))


@given(times)
def test_nothing_overlaps_in_a_lane(stretches: list[tuple[int, int]]) -> None:
    lanes = lanes_of(stretches)

    for lane in set(lanes):
        within = sorted(each for each, its in zip(stretches, lanes, strict=True) if its == lane)
        assert all(before[1] <= after[0] for before, after in pairwise(within))


@given(times)
def test_there_are_as_many_lanes_as_run_at_once(stretches: list[tuple[int, int]]) -> None:
    assert set(lanes_of(stretches)) == set(range(most_at_once(stretches)))
