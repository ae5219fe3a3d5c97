"""Every workload runs, in one round of the smallest size. No time is judged here."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import WORK
from benchmarks.catalogue import Plan, chosen, every
from benchmarks.measure import Pair, Reading, measure


def _smallest(pair: Pair, rounds: int) -> Reading:
    return measure(pair._replace(loops=2), rounds)


SMALLEST = Plan(rounds=1, task_runs=10, crowd=3, events=300, by=_smallest)

# Those run in processes of their own, each of which has to import everything.
FRESH = ("import", "start", "memory", "time", "processes")
IN_PROCESS = [one.name for one in every() if one.name.split(".")[0] not in FRESH]


@pytest.mark.parametrize("name", IN_PROCESS)
def test_a_workload_runs(name: str) -> None:
    (found,) = [one for one in chosen([name]) if one.name == name]
    assert found.run(SMALLEST).value > 0


@pytest.mark.parametrize(
    "name", ["import", "start", "start.bare", "processes.2", "memory.called.on", "time.called.on"]
)
def test_a_workload_of_fresh_processes_runs(name: str) -> None:
    (found,) = [one for one in chosen([name]) if one.name == name]
    (value,) = found.run(SMALLEST).values
    # What grows may also have shrunk.
    assert value > 0 or found.unit == "MB"


def test_whatever_is_usual_takes_no_million() -> None:
    assert not any(one.name.startswith(("memory.", "time.")) for one in chosen([]))


def test_work_is_all_there_is() -> None:
    """The catalogue is filled by the modules that the command line names."""
    assert len({module.__name__ for module in WORK}) == len(WORK)
    assert len({one.name for one in every()}) == len(every())
