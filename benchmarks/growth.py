"""One flow that runs very many tasks, as a program: prints by how many MB its memory grew."""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.calls import hook, work
from eventflow import flow, task
from eventflow.testing import isolated

__all__ = ["grown"]

SETTLED = 10_000
"""How many task runs come before the first look: by then every cache and pool is filled."""

STATM = Path("/proc/self/statm")

called = task(on_completion=[hook])(work)

WAYS: dict[str, Callable[[int], object]] = {
    "called": called,
    "submitted": lambda number: called.submit(number).result(),
}


def grown(way: str, task_runs: int) -> float:
    """Give the growth of memory in MB between the runs with the numbers SETTLED and `task_runs`."""
    one = WAYS[way]

    @flow
    def many() -> float:
        for number in range(min(SETTLED, task_runs // 10)):
            one(number)
        before = resident()
        for number in range(min(SETTLED, task_runs // 10), task_runs):
            one(number)
        return (resident() - before) / 1e6

    with isolated():
        return many()


def resident() -> int:
    """Give the bytes of memory that this process holds; not on Linux, the most it ever held."""
    gc.collect()
    if STATM.exists():
        return int(STATM.read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    print(grown(sys.argv[1], int(sys.argv[2])))
