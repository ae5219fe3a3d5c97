"""A scale keeps the order of time, and folds only what would leave no room for the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflow.dashboard.timeline.scale import FOLDED_WIDTH, FOLDS, gaps_in, scale_of

SECOND = 1_000_000
moments = st.integers(0, 10**9)
stretches = st.lists(st.tuples(moments, moments).map(lambda pair: (min(pair), max(pair))))


@given(stretches, st.integers(1, 10**9))
def test_gaps_and_what_is_busy_are_all_the_time(busy: list[tuple[int, int]], end: int) -> None:
    gaps = gaps_in(0, end, busy)
    busy_there = [(begin, min(stop, end)) for begin, stop in busy if begin < end]
    idle_between = gaps_in(0, end, gaps)

    assert all(begin < stop for begin, stop in gaps)
    assert not any(a < d and c < b for a, b in gaps for c, d in busy_there)
    assert sum(b - a for a, b in gaps) + sum(b - a for a, b in idle_between) == end


@given(stretches, st.integers(0, 10**9), st.lists(moments, min_size=2))
def test_places_are_in_the_order_of_time(
    busy: list[tuple[int, int]], end: int, times: list[int]
) -> None:
    """From 0 to 1, without a hole between the pieces, whatever is folded."""
    scale = scale_of(0, end, busy)
    places = [scale.place(time) for time in sorted(times)]

    assert places == sorted(places)
    assert all(0 <= place <= 1 for place in places)
    assert scale.place(0) == 0
    assert scale.place(max(end, 1)) == pytest.approx(1)
    assert (scale.pieces[0].left, scale.pieces[-1].right) == (0, 1)
    for before, piece in zip(scale.pieces, scale.pieces[1:], strict=False):
        assert (before.end, before.right) == (piece.begin, piece.left)


@given(stretches, st.integers(1, 10**9))
def test_all_that_is_not_folded_has_the_same_scale(busy: list[tuple[int, int]], end: int) -> None:
    pieces = scale_of(0, end, busy).pieces
    drawn = [piece for piece in pieces if not piece.is_folded]
    folded = [piece for piece in pieces if piece.is_folded]
    total = sum(piece.end - piece.begin for piece in drawn)
    room = 1 - FOLDED_WIDTH * len(folded)

    assert drawn
    assert len(folded) <= FOLDS
    assert not any(a < piece.end and piece.begin < b for piece in folded for a, b in busy if a < b)
    for piece in drawn:
        width = room * (piece.end - piece.begin) / total
        assert piece.right - piece.left == pytest.approx(width, abs=1e-9)


def test_a_long_gap_is_folded_with_its_length() -> None:
    scale = scale_of(0, 102 * SECOND, [(0, SECOND), (101 * SECOND, 102 * SECOND)])

    (fold,) = scale.folds
    assert fold.seconds == 100
    assert fold.right - fold.left == pytest.approx(FOLDED_WIDTH)
    assert (fold.left + fold.right) / 2 == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("length", "busy"),
    [
        (10 * SECOND, [(0, 3 * SECOND)]),
        (SECOND // 2, [(0, 1_000)]),
        (10 * SECOND, []),
    ],
    ids=["much is left to see", "it is short", "nothing else is left"],
)
def test_a_gap_is_not_folded_if(length: int, busy: list[tuple[int, int]]) -> None:
    assert scale_of(0, length, busy).folds == ()


@given(st.integers(1, 10**15))
def test_ticks_are_few_and_begin_at_zero(length: int) -> None:
    ticks = scale_of(0, length, [(0, length)]).ticks()

    assert ticks[0][:2] == (0, 0)
    assert 1 <= len(ticks) <= 7


def test_ticks_behind_a_fold_count_from_there() -> None:
    scale = scale_of(0, 102 * SECOND, [(0, SECOND), (101 * SECOND, 102 * SECOND)])

    later = [tick for tick in scale.ticks() if tick.is_later]
    assert later[0].time == 0
    assert later[0].place == scale.folds[0].right
    assert max(tick.time for tick in later) <= SECOND
