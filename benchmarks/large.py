"""A journal of a million runs against a small one: no operation may take longer in it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from io import StringIO
from pathlib import Path
from subprocess import CalledProcessError
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final

from benchmarks.archives import ALONE, build
from benchmarks.calls import work
from benchmarks.catalogue import Plan, Target, paired, workload
from benchmarks.measure import Pair, Reading, Side, measure
from benchmarks.processes import ReportedClock, run_python
from eventflow import flow, get_client
from eventflow.cli.app import app
from eventflow.settings import (
    EVENTFLOW_DURABILITY,
    EVENTFLOW_HOME,
    EVENTFLOW_RETENTION_BYTES,
    temporary_settings,
)
from eventflow.testing import flush, isolated

__all__ = ["COMMANDS", "archive", "at", "command"]

SMALL: Final = 10_000
"""How many runs the small journal has: enough that each command has a whole page to show."""

CHUNK: Final = 50
"""How many events are read at a time."""

FOUND: Final = Target(1.5, "found by an index; half for a tree that is deeper, and not cached")
TARGETS: Final = {
    "ls.flows": Target(5.0, "skips the tasks of the last flow"),
    "ls.name": Target(5.0, "skips the tasks of the last flow"),
    "ls.rare": Target(40.0, "a look at all runs, a hundred times as many"),
}
PRUNED: Final = Target(10.0, "ten microseconds a run")

COMMANDS: Final = {
    "ls": "runs ls",
    "ls.all": "runs ls --all",
    "ls.flows": "runs ls --type flow",
    "ls.failed": "runs ls --state Failed",
    "ls.unfinished": "runs ls --unfinished",
    "ls.name": "runs ls --name etl",
    "ls.rare": "runs ls --name report",
    "dead": "deliveries ls --status dead",
}
"""The commands that read a page."""

RECOVER: Final = ("-m", "eventflow.cli", "recover", "--json")


@cache
def _kept(runs: int) -> TemporaryDirectory[str]:
    """Keep a journal of so many runs until the end of this process."""
    folder = TemporaryDirectory(prefix="eventflow-")
    build(Path(folder.name), runs)

    return folder


def archive(runs: int) -> Path:
    """Return the home of a journal of so many runs, made at the first call."""
    return Path(_kept(runs).name)


@contextmanager
def at(home: Path) -> Iterator[None]:
    """Put a journal in force, from which nothing is pruned by itself."""
    with temporary_settings(
        {
            EVENTFLOW_DURABILITY: "process",
            EVENTFLOW_HOME: str(home),
            EVENTFLOW_RETENTION_BYTES: 2**62,
        }
    ):
        yield


def command(words: str, home: Path) -> str:
    """Run a command in this process, without its start; returns what it printed."""
    printed = StringIO()
    with at(home), redirect_stdout(printed), redirect_stderr(StringIO()):
        app(words.split(), standalone_mode=False)

    return printed.getvalue()


def _tail(home: Path) -> None:
    """Read the events of the last quarter of an hour, in which both journals have a whole page."""

    async def read() -> None:
        async with get_client() as client:
            since = datetime.now(UTC) - timedelta(minutes=15)
            await client.read_events(since=since, limit=CHUNK)

    with at(home):
        asyncio.run(read())


def _start(home: Path) -> None:
    """Register an owner with its first run, and end it."""
    with at(home), isolated(home):
        flow(work)(1)
        flush()


def _compared(called: Callable[[Path], object], plan: Plan) -> Iterator[Pair]:
    large, small = archive(plan.task_runs), archive(min(SMALL, plan.task_runs))

    def at_home(home: Path) -> Side:
        return lambda loops: [called(home) for _ in range(loops)]

    yield Pair(at_home(large), at_home(small))


def _register(name: str, about: str, called: Callable[[Path], object]) -> None:
    paired(
        f"large.{name}",
        f"{about}, a million runs",
        floor=f"journal of {SMALL:,} runs",
        target=TARGETS.get(name, FOUND),
        rounds=11,
        usual=False,
    )(partial(_compared, called))


_register("start", "first run of a process and its leave", _start)
for _name, _words in COMMANDS.items():
    _register(_name, _words, partial(command, _words))
_register("tail", "events of the last 15 minutes, a page", _tail)
_register("recover.none", "recover, nothing left to do", partial(command, "recover"))


@workload(
    "large.recover",
    "recover a killed process, a million runs",
    floor=f"journal of {SMALL:,} runs",
    target=FOUND,
    usual=False,
)
def recover(plan: Plan) -> Reading:
    """Recover a process that was killed in a flow, by a command in a process of its own."""
    clock = ReportedClock()

    def at_home(home: Path) -> Side:
        def side(_loops: int) -> None:
            with suppress(CalledProcessError):
                run_python("-m", "benchmarks.dying", home=str(home), **ALONE)
            begin = perf_counter()
            printed = run_python(*RECOVER, home=str(home), **ALONE)
            clock.now += int((perf_counter() - begin) * 1e9)
            ((crashed, delivered),) = (
                (report["crashed"], report["delivered"]) for report in json.loads(printed)
            )
            assert (crashed, delivered) == (1, 1)

        return side

    pair = Pair(
        at_home(archive(plan.task_runs)), at_home(archive(min(SMALL, plan.task_runs))), loops=1
    )

    return measure(pair, plan.rounds or 7, clock=clock)


@workload(
    "large.prune",
    "prune all of a million runs",
    floor="(absolute)",
    target=PRUNED,
    unit="s",
    usual=False,
)
def prune(plan: Plan) -> Reading:
    """Delete all that has ended, from copies of the journal."""
    return Reading(tuple(_pruned(plan.task_runs) for _ in range(plan.rounds or 1)))


def _pruned(runs: int) -> float:
    with TemporaryDirectory(prefix="eventflow-") as name:
        home = shutil.copytree(archive(runs), Path(name) / "home")
        begin = perf_counter()
        printed = command("prune --older-than 0s --json", home)
        took = perf_counter() - begin
        assert json.loads(printed)["runs"] >= runs

    return took
