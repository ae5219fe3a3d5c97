"""One flow that runs very many tasks, as a program: prints by how much memory and time grew."""

from __future__ import annotations

import gc
import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Final, NamedTuple

from benchmarks.calls import hook, work
from benchmarks.catalogue import BOOKS, Books, drained, kept
from eventflow import flow, task
from eventflow.testing import isolated

__all__ = ["WAYS", "Growth", "grown"]

SETTLED: Final = 10_000
"""How many task runs come before the first look: by then every cache and pool is filled."""

CHUNK: Final = 1_000
"""How many task runs are timed together."""

STATM: Final = Path("/proc/self/statm")

called = task(on_completion=[hook])(work)

WAYS: Final[dict[str, Callable[[int], object]]] = {
    "called": called,
    "submitted": lambda number: called.submit(number).result(),
}


class Growth(NamedTuple):
    """What became more: MB of memory, and the time of a run, in the last tenth over the first."""

    memory: float
    time: float


def grown(way: str, books: Books, task_runs: int) -> Growth:
    """Give the growth between the run with the number SETTLED and the last one of so many."""
    one = WAYS[way]
    settled = min(SETTLED, task_runs // 10)
    chunk = max(1, min(CHUNK, (task_runs - settled) // 20))

    def some(count: int) -> None:
        for number in range(count):
            one(number)

    # The writer is waited for: its work counts where it comes from.
    turn = drained(some)

    @flow
    def many() -> Growth:
        turn(settled)
        before = resident()
        times: list[int] = []
        for _ in range((task_runs - settled) // chunk):
            begin = perf_counter_ns()
            turn(chunk)
            times.append(perf_counter_ns() - begin)
        tenth = max(1, len(times) // 10)
        return Growth((resident() - before) / 1e6, median(times[-tenth:]) / median(times[:tenth]))

    with isolated(), kept(books):
        return many()


def resident() -> int:
    """Give the bytes of memory that this process holds; not on Linux, the most it ever held."""
    gc.collect()
    if STATM.exists():
        return int(STATM.read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    print(json.dumps(grown(sys.argv[1], BOOKS[sys.argv[2]], int(sys.argv[3]))))
