"""Timing two sides against each other: interleaved rounds, and the median of their ratios."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from statistics import median, quantiles
from time import perf_counter_ns
from typing import Any, Final, NamedTuple, TypeAlias

__all__ = ["ROUNDS", "SLICE", "Pair", "Reading", "Side", "again", "measure", "on_loop"]

Side: TypeAlias = Callable[[int], object]
"""Does a piece of work so many times."""

ROUNDS: Final = 41
"""How often both sides are measured by default."""

SLICE: Final = 10_000_000
"""How many nanoseconds a turn of the floor lasts at least: long enough for the clock, and short, so
that the machine is in the same state for both sides of a round."""


class Pair(NamedTuple):
    """Two sides that do the same work; `loops` where a turn has a size of its own."""

    ours: Side
    floor: Side
    loops: int | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """The result: one value a round, and the seconds that each side takes for one piece of work."""

    values: tuple[float, ...]
    ours: float | None = None
    floor: float | None = None

    @property
    def value(self) -> float:
        """The median, which a disturbed round does not move."""
        return median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """The first and the third quartile."""
        if len(self.values) == 1:
            return self.values[0], self.values[0]
        low, _, high = quantiles(self.values, n=4, method="inclusive")

        return low, high


def measure(
    pair: Pair,
    rounds: int = ROUNDS,
    *,
    least: int = SLICE,
    clock: Callable[[], int] = perf_counter_ns,
) -> Reading:
    """Time both sides in turn; each round gives one ratio, ours to the floor.

    Which side begins alternates, so that a machine that grows faster or slower favours neither.
    """
    loops = pair.loops or _calibrated(pair, least, clock)
    pair.floor(loops)
    pair.ours(loops)
    ours: list[int] = []
    floor: list[int] = []
    turns = ((pair.ours, ours), (pair.floor, floor))
    with _settled_heap():
        for number in range(rounds):
            for side, times in turns if number % 2 else reversed(turns):
                begin = clock()
                side(loops)
                times.append(clock() - begin)

    return Reading(
        values=tuple(a / b for a, b in zip(ours, floor, strict=True)),
        ours=_seconds(ours, loops),
        floor=_seconds(floor, loops),
    )


def _calibrated(pair: Pair, least: int, clock: Callable[[], int]) -> int:
    """Find how many loops make a floor's turn long enough, and ours not all too long."""
    loops = 1
    while True:
        begin = clock()
        pair.floor(loops)
        middle = clock()
        pair.ours(loops)
        if middle - begin >= least or clock() - middle >= 10 * least:
            return loops
        loops *= 2


def _seconds(times: Sequence[int], loops: int) -> float:
    return median(times) / loops / 1e9


@contextmanager
def _settled_heap() -> Iterator[None]:
    # The garbage collector stays on: allocations are part of the work. Objects that existed before
    # are not, so the collector does not visit them.
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def again(function: Callable[..., object], *args: Any) -> Side:
    """Make a side of a function: call it with these arguments, so many times."""

    def side(loops: int) -> None:
        for _ in repeat(None, loops):
            function(*args)

    return side


def on_loop(
    loop: asyncio.AbstractEventLoop, work: Callable[[int], Coroutine[Any, Any, object]]
) -> Side:
    """Make a side of a coroutine function that takes the number of loops."""
    return lambda loops: loop.run_until_complete(work(loops))
