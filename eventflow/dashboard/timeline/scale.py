"""The scale of a timeline: where a moment is, with long gaps in which nothing ran folded."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

__all__ = ["Fold", "Piece", "Scale", "Tick", "gaps_in", "scale_of"]

FOLDED_WIDTH: Final = 0.06
"""The part of the width that a folded gap takes."""

FOLDS: Final = 6
"""How many gaps are folded at most."""

SHORTEST: Final = 1_000_000
"""How long a gap is at least to be folded, in microseconds."""

MOSTLY: Final = 0.8
"""Gaps are folded if they would take more than this part of the width."""

LONG: Final = 1 / 3
"""Those gaps are folded that are longer than this part of all else."""

TICKS: Final = 6
"""About how many ticks there are."""

_SECOND: Final = 1_000_000
_STEPS: Final = (
    *(digit * 10**power for power in range(6) for digit in (1, 2, 5)),
    *(seconds * _SECOND for seconds in (1, 2, 5, 10, 15, 30)),
    *(minutes * 60 * _SECOND for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * 3_600 * _SECOND for hours in (1, 2, 3, 6, 12)),
    *(days * 86_400 * _SECOND for days in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 10_000)),
)
"""The distances between ticks, in microseconds."""


class Piece(NamedTuple):
    """A part of a scale: time from `begin` to `end`, drawn from `left` to `right`.

    Times are microseconds since 1970, places parts of the width, from 0 to 1.
    """

    begin: int
    end: int
    left: float
    right: float
    is_folded: bool


class Fold(NamedTuple):
    """A folded gap: where it is drawn, and how many seconds it lasted."""

    left: float
    right: float
    seconds: float


class Tick(NamedTuple):
    """A tick of the axis: its place, and its microseconds since the beginning of its piece.

    `is_later` says that a folded gap lies between the beginning of the run and that piece.
    """

    place: float
    time: int
    is_later: bool


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps moments to places."""

    pieces: tuple[Piece, ...]
    begins: tuple[int, ...]

    @property
    def begin(self) -> int:
        """The first moment, in microseconds since 1970."""
        return self.pieces[0].begin

    @property
    def end(self) -> int:
        """The last moment, in microseconds since 1970."""
        return self.pieces[-1].end

    @property
    def folds(self) -> tuple[Fold, ...]:
        """The gaps that are folded."""
        return tuple(
            Fold(piece.left, piece.right, (piece.end - piece.begin) / _SECOND)
            for piece in self.pieces
            if piece.is_folded
        )

    def place(self, moment: int) -> float:
        """Return the place of a moment, from 0 to 1."""
        begin, end, left, right, _ = self.pieces[max(0, bisect_right(self.begins, moment) - 1)]
        part = (moment - begin) / (end - begin)

        return left + (right - left) * min(max(part, 0.0), 1.0)

    def ticks(self, about: int = TICKS) -> tuple[Tick, ...]:
        """Return about so many ticks, at round times, none of them in a folded gap."""
        drawn = [piece for piece in self.pieces if not piece.is_folded]
        total = sum(piece.end - piece.begin for piece in drawn)
        step = next((each for each in _STEPS if each * about >= total), _STEPS[-1])

        return tuple(
            Tick(self.place(piece.begin + time), time, piece.left > 0)
            for piece in drawn
            for time in range(0, piece.end - piece.begin + 1, step)
        )


def gaps_in(begin: int, end: int, busy: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the times between two moments in which nothing was busy."""
    gaps = []
    reached = begin
    for start, stop in sorted(busy):
        if start > reached:
            gaps.append((reached, min(start, end)))
        reached = max(reached, stop)
    if reached < end:
        gaps.append((reached, end))

    return [gap for gap in gaps if gap[0] < gap[1]]


def scale_of(begin: int, end: int, busy: Iterable[tuple[int, int]]) -> Scale:
    """Return the scale from one moment to another; `busy` is from when to when something ran."""
    end = max(end, begin + 1)
    folded = _folded(end - begin, gaps_in(begin, end, busy))
    bounds = sorted({begin, end, *(moment for gap in folded for moment in gap)})
    parts = [(start, stop, (start, stop) in folded) for start, stop in pairwise(bounds)]
    total = sum(stop - start for start, stop, is_folded in parts if not is_folded)
    room = 1 - FOLDED_WIDTH * len(folded)
    pieces: list[Piece] = []
    left = 0.0
    for start, stop, is_folded in parts:
        right = left + (FOLDED_WIDTH if is_folded else room * (stop - start) / total)
        pieces.append(Piece(start, stop, left, right, is_folded))
        left = right
    pieces[-1] = pieces[-1]._replace(right=1.0)

    return Scale(tuple(pieces), tuple(piece.begin for piece in pieces))


def _folded(length: int, gaps: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    """Choose the gaps to fold: the longest ones, where little would be seen beside them."""
    longest = sorted(gaps, key=lambda gap: gap[0] - gap[1])[:FOLDS]
    rest = length - sum(end - begin for begin, end in longest)
    if not 0 < rest < (1 - MOSTLY) * length:
        return set()

    return {(begin, end) for begin, end in longest if end - begin > max(SHORTEST, LONG * rest)}
