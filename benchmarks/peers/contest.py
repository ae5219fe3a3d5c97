"""The contest: every side of a work takes its turn in each round; a ratio is one of two turns."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Final, Self

from benchmarks.measure import Reading
from benchmarks.peers.contestants import Contestant, entered
from benchmarks.peers.environments import Environments, NoEnvironment
from benchmarks.peers.workers import PeerFailed
from benchmarks.peers.works import SIDES, Work

__all__ = ["Field", "Outcome", "compared"]

TURN: Final = 100_000_000
"""How many nanoseconds a turn lasts at least: a worker that was stopped has to get going again."""

Turn = Callable[[str, int], int]
"""A side's turn: of which work, how often; gives nanoseconds."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a work: for each side the nanoseconds of one piece, a value for each round.

    `failures` says of the other sides why there is nothing.
    """

    work: Work
    times: Mapping[str, tuple[float, ...]]
    failures: Mapping[str, str]

    def ratio(self, ours: str, peer: str) -> Reading | None:
        """Say how many times as long the peer took, round by round; None if either failed."""
        if ours not in self.times or peer not in self.times:
            return None
        pairs = zip(self.times[ours], self.times[peer], strict=True)

        return Reading(
            tuple(theirs / own for own, theirs in pairs),
            ours=self.seconds(ours),
            floor=self.seconds(peer),
        )

    def seconds(self, side: str) -> float:
        """Give what one piece of work takes a side, the median of all rounds."""
        return median(self.times[side]) / 1e9


class Field:
    """The sides that are at work, each entered when it is first needed; a context manager."""

    def __init__(self, environments: Environments) -> None:
        self._environments = environments
        self._stack = ExitStack()
        self._at_work: dict[str, Contestant] = {}
        self._failed: dict[str, str] = {}
        self.versions: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def side(self, name: str) -> Contestant:
        """Give a side at work.

        Raises:
            PeerFailed: it could not be set to work.
        """
        if name in self._failed:
            raise PeerFailed(self._failed[name])
        if name not in self._at_work:
            try:
                self._at_work[name] = self._entered(name)
            except (NoEnvironment, PeerFailed) as error:
                self._failed[name] = str(error)
                raise PeerFailed(str(error)) from error

        return self._at_work[name]

    def _entered(self, name: str) -> Contestant:
        side = SIDES[name]
        python = self._environments.python_of(side)
        contestant = self._stack.enter_context(entered(side, python))
        self.versions[side.package] = contestant.version()

        return contestant


def compared(works: Iterable[Work], field: Field, rounds: int | None = None) -> Iterator[Outcome]:
    """Have each work done by all its sides in turn."""
    for work in works:
        yield _compared(work, field, rounds or work.rounds)


def _compared(work: Work, field: Field, rounds: int) -> Outcome:
    turns: dict[str, Turn] = {}
    counts: dict[str, int] = {}
    failures: dict[str, str] = {}
    for name in work.sides:
        try:
            turns[name] = field.side(name).turn
            counts[name] = calibrated(turns[name], work.name)
        except PeerFailed as error:
            failures[name] = str(error)
            print(f"{name} could not do {work.name}: {error}", file=sys.stderr)
    times = in_rounds({name: turns[name] for name in counts}, counts, work.name, rounds)

    return Outcome(work, times, failures)


def calibrated(turn: Turn, work: str, least: int = TURN) -> int:
    """Find how often the work has to be done to make a turn long enough; warms up, too."""
    count = 1
    while (taken := turn(work, count)) < least:
        count *= max(2, min(10, least // max(taken, 1)))

    return count


def in_rounds(
    turns: dict[str, Turn], counts: dict[str, int], work: str, rounds: int
) -> dict[str, tuple[float, ...]]:
    """Let all sides take their turns, round by round; who begins changes with every round."""
    times: dict[str, list[float]] = {name: [] for name in turns}
    names = list(turns)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(turns[name](work, counts[name]) / counts[name])

    return {name: tuple(values) for name, values in times.items()}
