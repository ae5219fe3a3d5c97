"""What is measured in processes of its own: imports, the start of a script, growth of memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter_ns

from benchmarks.catalogue import Plan, Target, workload
from benchmarks.measure import Pair, Reading, measure

__all__ = ["imports", "start"]

ROOT = Path(__file__).parent.parent
ROUNDS = 15

DEPENDENCIES = "import anyio, blinker, pydantic, structlog"
IMPORT = "from time import perf_counter_ns as now; begin = now(); {}; print(now() - begin)"
HELLO = """
from eventflow import flow, task

@task
def greet(name: str) -> str:
    return f"Hello, {name}"

@flow
def hello() -> str:
    return greet("world")

hello()
"""


def run_python(*arguments: str, home: str) -> str:
    """Run a fresh interpreter, with a home of its own; gives what it printed.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    environment = {key: value for key, value in os.environ.items() if _harmless(key)}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT), "EVENTFLOW_HOME": home},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )

    return done.stdout


def _harmless(variable: str) -> bool:
    # Coverage, profilers and bytecode switches are for this process; settings are the user's own.
    return not variable.startswith(("COVERAGE", "EVENTFLOW_", "PYTHON"))


@workload(
    "import",
    "import eventflow, fresh interpreter",
    Target(2.5, issue=2),
    Target(1.5, issue=4),
    floor="import of its four dependencies",
)
def imports(plan: Plan) -> Reading:
    """Let fresh interpreters say how long the import took, in turn."""
    with TemporaryDirectory() as home:
        clock = _ReportedClock()

        def importing(statement: str) -> Pair | None:
            clock.now += int(run_python("-c", IMPORT.format(statement), home=home))
            return None

        pair = Pair(
            ours=lambda _: importing("import eventflow"),
            floor=lambda _: importing(DEPENDENCIES),
            loops=1,
        )
        return measure(pair, rounds=plan.rounds or ROUNDS, clock=clock)


class _ReportedClock:
    """A clock that goes on by what the measured processes report."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


@workload(
    "start",
    "python hello.py, start to exit",
    Target(2.0, issue=4),
    floor="python -c, importing the four",
)
def start(plan: Plan) -> Reading:
    """Run a script with a flow and a task, from its start to its end."""
    with TemporaryDirectory() as home:
        script = Path(home) / "hello.py"
        script.write_text(HELLO)
        pair = Pair(
            ours=lambda _: run_python(str(script), home=home),
            floor=lambda _: run_python("-c", DEPENDENCIES, home=home),
            loops=1,
        )
        return measure(pair, rounds=plan.rounds or ROUNDS, clock=perf_counter_ns)


def _growth(plan: Plan, way: str) -> Reading:
    with TemporaryDirectory() as home:
        grown = run_python("-m", "benchmarks.growth", way, str(plan.task_runs), home=home)

    return Reading((float(grown),))


GROWTH = (Target(50.0, issue=2), Target(20.0, issue=4))


@workload(
    "memory.called",
    "growth over a million task calls in one flow",
    *GROWTH,
    floor="(absolute)",
    unit="MB",
    usual=False,
)
def growth_of_calls(plan: Plan) -> Reading:
    """Call so many tasks in one flow."""
    return _growth(plan, "called")


@workload(
    "memory.submitted",
    "growth over a million submitted tasks in one flow",
    *GROWTH,
    floor="(absolute)",
    unit="MB",
    usual=False,
)
def growth_of_submitted(plan: Plan) -> Reading:
    """Submit so many tasks in one flow, each when the one before has ended."""
    return _growth(plan, "submitted")
