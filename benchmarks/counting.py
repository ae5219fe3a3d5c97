"""Running both sides of workloads between marks, to count their instructions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks import calls, flowruns, journalling, publishing, submitted, subscriptions
from benchmarks.catalogue import Plan, chosen
from benchmarks.measure import Pair, Reading

__all__ = ["WORK", "run"]

WORK = (calls, flowruns, submitted, publishing, subscriptions, journalling)
"""The modules of the workloads that can be counted."""

CROWD = 100
"""The largest crowd: valgrind is slow."""


def run(names: Sequence[str], loops: int, mark: Callable[[], object]) -> None:
    """Run both sides of each workload `loops` times, with a mark before and after each."""

    def counted(pair: Pair, rounds: int) -> Reading:
        for side in (pair.floor, pair.ours):
            side(loops)
        mark()
        for side in (pair.floor, pair.ours):
            side(loops)
            mark()
        return Reading((float(rounds),))

    for name in names:
        (workload,) = chosen([name])
        workload.run(Plan(1, task_runs=loops, crowd=CROWD, by=counted))
