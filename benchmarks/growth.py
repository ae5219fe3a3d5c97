"""A program that runs very many tasks in one flow, and prints how memory and time grew."""

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
from benchmarks.catalogue import MODES, JournalMode, drained, journalled
from eventflow import flow, task
from eventflow.testing import isolated

__all__ = ["WAYS", "Growth", "grown"]

SETTLED: Final = 10_000
"""How many task runs are made before the first sample: by then caches and pools are full."""

CHUNK: Final = 1_000
"""How many task runs are timed together."""

STATM: Final = Path("/proc/self/statm")

called = task(on_completion=[hook])(work)

WAYS: Final[dict[str, Callable[[int], object]]] = {
    "called": called,
    "submitted": lambda number: called.submit(number).result(),
}


class Growth(NamedTuple):
    """The growth: MB of memory, and the time of a run in the last tenth over the first."""

    memory: float
    time: float


def grown(way: str, mode: JournalMode, task_runs: int) -> Growth:
    """Return the growth between the run number SETTLED and the last one."""
    run = WAYS[way]
    settled = min(SETTLED, task_runs // 10)
    chunk = max(1, min(CHUNK, (task_runs - settled) // 20))

    def some(count: int) -> None:
        for number in range(count):
            run(number)

    # Each turn waits for the writer, so that its work counts in the turn that caused it.
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

    with isolated(), journalled(mode):
        return many()


def resident() -> int:
    """Return the resident memory of this process in bytes; outside Linux, its peak."""
    gc.collect()
    if STATM.exists():
        return int(STATM.read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    print(json.dumps(grown(sys.argv[1], MODES[sys.argv[2]], int(sys.argv[3]))))
