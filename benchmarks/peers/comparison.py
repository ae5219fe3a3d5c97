"""The rounds: every side of a work takes a turn in each; a ratio is one of two turns."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Final, Self

from benchmarks.measure import Reading
from benchmarks.peers.environments import Environments, NoEnvironment
from benchmarks.peers.running import RunningSide, running
from benchmarks.peers.workers import PeerFailed
from benchmarks.peers.works import SIDES, Work

__all__ = ["Outcome", "RunningSides", "compared"]

TURN: Final = 100_000_000
"""How many nanoseconds a turn lasts at least: a worker that was stopped has to warm up again."""

Turn = Callable[[str, int], int]
"""A turn of a side: the work and how often to do it; returns nanoseconds."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a work: for each side the nanoseconds of one piece, one value a round.

    `failures` has the reason for each side without a result.
    """

    work: Work
    times: Mapping[str, tuple[float, ...]]
    failures: Mapping[str, str]

    def ratio(self, ours: str, peer: str) -> Reading | None:
        """Return how many times as long the peer took, round by round; None if either failed."""
        if ours not in self.times or peer not in self.times:
            return None
        pairs = zip(self.times[ours], self.times[peer], strict=True)

        return Reading(
            tuple(theirs / own for own, theirs in pairs),
            ours=self.seconds(ours),
            floor=self.seconds(peer),
        )

    def seconds(self, side: str) -> float:
        """Return the time of one piece of work, the median of all rounds."""
        return median(self.times[side]) / 1e9


class RunningSides:
    """The sides that run, each started when it is first needed; a context manager."""

    def __init__(self, environments: Environments) -> None:
        self._environments = environments
        self._stack = ExitStack()
        self._running: dict[str, RunningSide] = {}
        self._failed: dict[str, str] = {}
        self.versions: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def side(self, name: str) -> RunningSide:
        """Return a side that runs, after starting it if need be.

        Raises:
            PeerFailed: it could not be started.
        """
        if name in self._failed:
            raise PeerFailed(self._failed[name])
        if name not in self._running:
            try:
                self._running[name] = self._start(name)
            except (NoEnvironment, PeerFailed) as error:
                self._failed[name] = str(error)
                raise PeerFailed(str(error)) from error

        return self._running[name]

    def _start(self, name: str) -> RunningSide:
        side = SIDES[name]
        python = self._environments.python_of(side)
        started = self._stack.enter_context(running(side, python))
        self.versions[side.package] = started.version()

        return started


def compared(
    works: Iterable[Work], sides: RunningSides, rounds: int | None = None
) -> Iterator[Outcome]:
    """Have all sides of each work do it in turn."""
    for work in works:
        yield _compared(work, sides, rounds or work.rounds)


def _compared(work: Work, sides: RunningSides, rounds: int) -> Outcome:
    turns: dict[str, Turn] = {}
    counts: dict[str, int] = {}
    failures: dict[str, str] = {}
    for name in work.sides:
        try:
            turns[name] = sides.side(name).turn
            counts[name] = calibrated(turns[name], work.name)
        except PeerFailed as error:
            failures[name] = str(error)
            print(f"{name} could not do {work.name}: {error}", file=sys.stderr)
    times = in_rounds({name: turns[name] for name in counts}, counts, work.name, rounds)

    return Outcome(work, times, failures)


def calibrated(turn: Turn, work: str, least: int = TURN) -> int:
    """Return how often the work has to be done for a turn to be long enough; warms up as well."""
    count = 1
    while (taken := turn(work, count)) < least:
        count *= max(2, min(10, least // max(taken, 1)))

    return count


def in_rounds(
    turns: dict[str, Turn], counts: dict[str, int], work: str, rounds: int
) -> dict[str, tuple[float, ...]]:
    """Give every side a turn in each round; another side begins each round."""
    times: dict[str, list[float]] = {name: [] for name in turns}
    names = list(turns)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(turns[name](work, counts[name]) / counts[name])

    return {name: tuple(values) for name, values in times.items()}
