"""Every workload runs, in one round of the smallest size. No time is judged here."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import WORK
from benchmarks.catalogue import Plan, chosen, every
from benchmarks.measure import Pair, Reading, measure


def _smallest(pair: Pair, rounds: int) -> Reading:
    return measure(pair._replace(loops=2), rounds)


SMALLEST = Plan(rounds=1, task_runs=10, crowd=3, by=_smallest)

# These start processes, each of which has to import everything.
FRESH = ("import", "start", "memory", "time", "processes", "dashboard")
IN_PROCESS = [workload.name for workload in every() if workload.name.split(".")[0] not in FRESH]


@pytest.mark.parametrize("name", IN_PROCESS)
def test_a_workload_runs(name: str) -> None:
    (workload,) = [each for each in chosen([name]) if each.name == name]
    assert workload.run(SMALLEST).value > 0


@pytest.mark.parametrize(
    "name",
    [
        "import",
        "import.names",
        "start",
        "start.bare",
        "processes.2",
        "memory.called.on",
        "time.called.on",
        "dashboard.first.flow-run",
        "dashboard.start",
        "dashboard.live",
        "dashboard.memory",
        "dashboard.watched",
    ],
)
def test_a_workload_of_fresh_processes_runs(name: str) -> None:
    (workload,) = [each for each in chosen([name]) if each.name == name]
    (value,) = workload.run(SMALLEST).values
    # What grows may also have shrunk.
    assert value > 0 or workload.unit == "MB"


def test_no_usual_workload_makes_a_million_runs() -> None:
    assert not any(workload.name.startswith(("memory.", "time.")) for workload in chosen([]))


def test_every_workload_has_a_name_of_its_own() -> None:
    """And every module that registers some is named once."""
    assert len({module.__name__ for module in WORK}) == len(WORK)
    assert len({workload.name for workload in every()}) == len(every())
