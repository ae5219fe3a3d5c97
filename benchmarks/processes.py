"""Cold starts, in processes of their own: imports, and a script from its start to its end."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.catalogue import Plan, Target, workload
from benchmarks.measure import Pair, Reading, measure

__all__ = ["ROOT", "ReportedClock", "environment", "imports", "run_python"]

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


def run_python(*arguments: str, home: str, **settings: str) -> str:
    """Run a fresh interpreter, with a home and settings of its own; returns what it printed.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**environment(home), **settings},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )

    return done.stdout


def environment(home: str) -> dict[str, str]:
    """Return the environment of a child process: this one's, with another home."""
    ours = {key: value for key, value in os.environ.items() if _harmless(key)}

    return {**ours, "PYTHONPATH": str(ROOT), "EVENTFLOW_HOME": home}


def _harmless(variable: str) -> bool:
    # Coverage, profilers and bytecode switches are for this process; settings are the user's own.
    return not variable.startswith(("COVERAGE", "EVENTFLOW_", "PYTHON"))


@workload(
    "import",
    "import eventflow, fresh interpreter",
    floor="import of its four dependencies",
    target=Target(1.5, "half of what its dependencies take"),
)
def imports(plan: Plan) -> Reading:
    """Time the imports in fresh interpreters, in turn."""
    return _imports("import eventflow", plan)


@workload(
    "import.names",
    "from eventflow import flow, hook, task, fresh interpreter",
    floor="import of its four dependencies",
    target=Target(1.5, "half of what its dependencies take"),
)
def names(plan: Plan) -> Reading:
    """Time what a program imports that defines something: a name is loaded on its first use."""
    return _imports("from eventflow import flow, hook, task", plan)


def _imports(ours: str, plan: Plan) -> Reading:
    with TemporaryDirectory() as home:
        clock = ReportedClock()

        def importing(statement: str) -> Pair | None:
            clock.now += int(run_python("-c", IMPORT.format(statement), home=home))
            return None

        pair = Pair(
            ours=lambda _: importing(ours),
            floor=lambda _: importing(DEPENDENCIES),
            loops=1,
        )
        return measure(pair, rounds=plan.rounds or ROUNDS, clock=clock)


class ReportedClock:
    """A clock that advances by the times that the measured processes report."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        """Return the sum of the times, in nanoseconds."""
        return self.now


def _start(floor: tuple[str, ...], plan: Plan) -> Reading:
    """Run a script with a flow and a task, from its start to its end."""
    with TemporaryDirectory() as home:
        script = Path(home) / "hello.py"
        script.write_text(HELLO)
        pair = Pair(
            ours=lambda _: run_python(str(script), home=home),
            floor=lambda _: run_python(*floor, home=home),
            loops=1,
        )
        return measure(pair, rounds=plan.rounds or ROUNDS)


workload(
    "start",
    "python hello.py, start to exit",
    floor="python -c, importing the four",
    target=Target(2.0, "as much again for eventflow and the run"),
)(partial(_start, ("-c", DEPENDENCIES)))

workload("start.bare", "python hello.py, start to exit", floor="python -c pass")(
    partial(_start, ("-c", "pass"))
)
