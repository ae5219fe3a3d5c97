"""Growth: a million task runs in one flow, tasks at the same time, processes on one journal."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from itertools import product
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.catalogue import OFF, Plan, Target, Unit, paired, workload
from benchmarks.growth import WAYS, Growth
from benchmarks.measure import Pair, Reading, Side, on_loop
from benchmarks.processes import ROOT, environment, run_python
from benchmarks.sharing import DONE
from benchmarks.submitted import all_at_once

__all__ = ["AT_ONCE", "PROCESSES"]

AT_ONCE: Final = (1, 10, 100, 1_000, 10_000)
"""How many async tasks are submitted at once."""

PROCESSES: Final = (1, 2, 4, 8, 16, 32)
"""How many processes write one journal."""

SHARED: Final = 3_200
"""How many task runs they make together."""


# -- a million task runs --------------------------------------------------------------------------


@cache
def _growth(way: str, journal: str, task_runs: int) -> Growth:
    with TemporaryDirectory() as home:
        output = run_python("-m", "benchmarks.growth", way, journal, str(task_runs), home=home)

    return Growth(*json.loads(output))


def _memory(way: str, journal: str, plan: Plan) -> Reading:
    return Reading((_growth(way, journal, plan.task_runs).memory,))


def _time(way: str, journal: str, plan: Plan) -> Reading:
    return Reading((_growth(way, journal, plan.task_runs).time,))


GROWN: Final[dict[str, tuple[str, Unit, Target | None]]] = {
    "memory": ("growth over", "MB", Target(20.0, "nothing is kept of a run that ended")),
    "time": ("time of a run, late in", "x", None),
}

for _what, _way, _journal in product(GROWN, WAYS, ("off", "on")):
    _about, _unit, _target = GROWN[_what]
    workload(
        f"{_what}.{_way}.{_journal}",
        f"{_about} a million {_way} tasks, journal {_journal}",
        floor="(absolute)" if _unit == "MB" else "early in it",
        target=_target,
        unit=_unit,
        usual=False,
    )(partial(_memory if _what == "memory" else _time, _way, _journal))


# -- at the same time -----------------------------------------------------------------------------


def _concurrent(count: int, plan: Plan) -> Iterator[Pair]:
    """Submit so many async tasks at once, again and again, each time in a flow of their own."""
    ours, floor = all_at_once(1)
    count = min(count, plan.crowd)

    async def flows(loops: int) -> None:
        for _ in range(loops):
            await ours(count)

    async def floors(loops: int) -> None:
        for _ in range(loops):
            await floor(count)

    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        yield Pair(on_loop(loop, flows), on_loop(loop, floors))


for _count in AT_ONCE:
    paired(
        f"concurrent.{_count}",
        f"{_count:,} async tasks at once in a flow, one hook",
        floor="asyncio tasks + floor",
        rounds=5 if _count == max(AT_ONCE) else 21,
        usual=False,
    )(partial(_concurrent, _count))


# -- processes on one journal ---------------------------------------------------------------------


@contextmanager
def _sharing_journal(count: int, share: int) -> Iterator[Side]:
    """Yield a side on which so many processes, on one journal, make their shares at once."""
    with TemporaryDirectory() as home, ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.sharing"],
                    cwd=ROOT,
                    env=environment(home),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(count)
        ]
        _await_done(processes)

        def side(loops: int) -> None:
            for _ in range(loops):
                for process in processes:
                    assert process.stdin is not None
                    process.stdin.write(f"{share}\n")
                    process.stdin.flush()
                _await_done(processes)

        yield side


def _await_done(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == DONE


def _processes(count: int, plan: Plan) -> Iterator[Pair]:
    """Have processes on one journal make as many task runs together as one process does alone."""
    count, runs = min(count, plan.crowd), min(SHARED, plan.task_runs)
    with (
        _sharing_journal(count, max(1, runs // count)) as ours,
        _sharing_journal(1, runs) as floor,
    ):
        yield Pair(ours, floor, 1)


for _count in PROCESSES:
    paired(
        f"processes.{_count}",
        f"{SHARED:,} task runs by {_count} processes on one journal",
        floor="by one process",
        rounds=7,
        usual=False,
        # The processes have settings of their own; this one runs nothing.
        mode=OFF,
    )(partial(_processes, _count))
