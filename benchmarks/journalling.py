"""The cost of the journal: runs with it and without, lines through the spool, a hook's commit."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import cycle, repeat
from pathlib import Path
from threading import RLock
from typing import Any, Final
from unittest.mock import Mock

from benchmarks.calls import hook, work
from benchmarks.catalogue import OFF, ON, POWER, JournalMode, Plan, Target, journalled, paired
from benchmarks.measure import Pair, Side, again
from eventflow import EventBus, flow, task, use_bus
from eventflow.journal.format import decode
from eventflow.journal.recorder import Recorder
from eventflow.journal.rows import EventRow, RunRow
from eventflow.journal.spool import Spool
from eventflow.journal.stores.sqlite import SqliteJournal
from eventflow.journal.writer import Writer
from eventflow.settings import Durability
from eventflow.wiring import detach

THROUGHPUT: Final = Target(1.67, "60 % of the events a second")
COMMIT: Final = Target(1.5, "half a commit for all but the commit")
MANY: Final = Target(0.05, "20 times as many commits a second")

LINES: Final = 2_000
"""How many different lines are committed, over and over again."""

PUBLISHERS: Final = 64
COMMITS: Final = 256
"""How many commits one turn makes."""

RUNS: Final = 4_000
COLUMNS: Final = {"runs": len(RunRow._fields) + 1, "events": len(EventRow._fields)}


# -- runs -----------------------------------------------------------------------------------------


@contextmanager
def _without(body: Callable[[], object]) -> Iterator[Side]:
    """Yield a side that makes calls on a bus of its own, without a journal."""
    with use_bus(EventBus()) as own, journalled(OFF):
        # The settings in force at the first run on a bus are the ones that count.
        body()

    def side(loops: int) -> None:
        with use_bus(own):
            for _ in repeat(None, loops):
                body()

    try:
        yield side
    finally:
        detach(own)


def _task(_plan: Plan) -> Iterator[Pair]:
    """Call a task without a hook: nothing waits for a commit."""
    called = partial(task(work), 1)
    with _without(called) as bare:
        yield Pair(again(called), bare)


def _flow(_plan: Plan) -> Iterator[Pair]:
    """Call a flow whose hook is guarded; with `power` the hook waits for the disk."""
    with _without(partial(flow(work), 1)) as bare:
        yield Pair(again(flow(on_completion=[hook])(work), 1), bare)


def _register(name: str, mode: JournalMode, target: Target | None = None) -> None:
    what, sides, floor = {
        "task": ("task run, drained", _task, "journal off"),
        "flow": ("flow run, one guarded hook", _flow, "no hook, journal off"),
    }[name]
    journal = "power" if mode is POWER else "on"
    paired(
        f"journal.{name}.{journal}",
        f"{what}, journal {journal}",
        floor=floor,
        target=target,
        mode=mode,
    )(sides)


_register("task", ON, Target(2.0, "the journal doubles a run"))
_register("task", POWER)
_register("flow", ON, Target(10.0, "a guarded hook costs as much as nine runs"))
_register("flow", POWER)


# -- lines ----------------------------------------------------------------------------------------


def _written(runs: int, *, hooked: bool) -> list[bytes]:
    """Return the lines of so many task runs; with a hook, those that hold its deliveries."""
    with use_bus(EventBus()) as own:
        lines: list[bytes] = []
        sink = Mock(owner="owner", begun=True, waits=False, lock=RLock())
        sink.append = lines.append
        recorder = Recorder(sink, own)
        own.recorder, own.composed = recorder, True
        called = task(on_running=[hook] if hooked else None)(work)
        for _ in range(runs):
            called(1)
        recorder.flush_held()

    return [line for line in lines if not hooked or b'"deliveries"' in line]


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="eventflow-") as name:
        yield Path(name)


def _journal(folder: Path, durability: Durability = "process") -> SqliteJournal:
    """Make a journal, with its tables."""
    journal = SqliteJournal(folder / "journal.db", durability)
    journal.statistics()

    return journal


def _fail(error: Exception | None, lost: int) -> None:
    raise AssertionError((error, lost))


def _through_the_spool(lines: Sequence[bytes]) -> Side:
    def side(loops: int) -> None:
        with _folder() as folder:
            writer = Writer(_journal(folder), _fail, spool=Spool(folder))
            for line in lines:
                writer.append(line)
                writer.notify()
            assert writer.close()

    return side


def _many(lines: Sequence[bytes]) -> Side:
    rows = decode(lines)
    tables: dict[str, list[Any]] = {
        "runs": list(rows.runs.values()),
        "events": _rows(rows.events, COLUMNS["events"]),
    }
    names = {name: ", ".join(_names(name)) for name in tables}

    def side(loops: int) -> None:
        with _folder() as folder:
            journal = _journal(folder)
            journal.close()
            connection = _bare(folder, "NORMAL")
            connection.execute("BEGIN")
            for name, values in tables.items():
                marks = ", ".join("?" * COLUMNS[name])
                text = f"INSERT INTO {name} ({names[name]}) VALUES ({marks})"
                connection.executemany(text, values)
            connection.execute("COMMIT")
            connection.close()

    return side


def _rows(values: Sequence[Any], width: int) -> list[Sequence[Any]]:
    return [values[start : start + width] for start in range(0, len(values), width)]


def _names(table: str) -> Sequence[str]:
    return (*RunRow._fields, "keeper") if table == "runs" else EventRow._fields


def _bare(folder: Path, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / "journal.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")

    return connection


@paired(
    "journal.events",
    f"events of {RUNS} runs, put and drained",
    floor="executemany, 1 transaction",
    target=THROUGHPUT,
    rounds=11,
)
def events(plan: Plan) -> Iterator[Pair]:
    """Write the lines of task runs, each side into a file of its own."""
    lines = _written(min(RUNS, plan.task_runs), hooked=False)
    yield Pair(_through_the_spool(lines), _many(lines), 1)


# -- a hook's commit ------------------------------------------------------------------------------


def _commits(durability: Durability, synchronous: str, plan: Plan) -> Iterator[Pair]:
    """Compare the commit before a hook is called with the insert and commit of one row."""
    lines = cycle(_written(min(LINES, plan.task_runs), hooked=True))
    with ExitStack() as stack:
        ours, theirs = (stack.enter_context(_folder()) for _ in range(2))
        spool = Spool(ours) if durability == "process" else None
        writer = Writer(_journal(ours, durability), _fail, spool=spool)
        stack.callback(writer.close)
        connection = _bare(theirs, synchronous)
        stack.callback(connection.close)
        connection.execute("CREATE TABLE rows (line BLOB)")

        def durable(loops: int) -> None:
            for _ in range(loops):
                writer.append(next(lines))
                writer.notify()
                assert writer.wait()

        def bare(loops: int) -> None:
            for _ in range(loops):
                connection.execute("INSERT INTO rows VALUES (?)", (next(lines),))

        yield Pair(durable, bare)


@paired(
    "journal.commit.on",
    "a hook's delivery made durable",
    floor="one-row commit",
    target=COMMIT,
)
def commit(plan: Plan) -> Iterator[Pair]:
    """Commit so that it survives the death of the process."""
    yield from _commits("process", "NORMAL", plan)


@paired(
    "journal.commit.power",
    "the same, against a loss of power",
    floor="one-row commit",
    target=COMMIT,
)
def commit_with_power(plan: Plan) -> Iterator[Pair]:
    """Commit so that it survives a loss of power: both sides flush the disk."""
    yield from _commits("power", "FULL", plan)


@paired(
    "journal.publishers",
    f"{COMMITS} commits, power, {PUBLISHERS} publishers at once",
    floor="one after the other",
    target=MANY,
    rounds=7,
)
def publishers(plan: Plan) -> Iterator[Pair]:
    """Commit from many threads at the same time: one flush of the disk serves them all."""
    count = min(PUBLISHERS, plan.crowd)
    with _folder() as folder, ThreadPoolExecutor(count) as pool:
        lines = cycle(_written(min(LINES, plan.task_runs), hooked=True))
        writer = Writer(_journal(folder, "power"), _fail)

        def publish() -> None:
            writer.append(next(lines))
            writer.notify()
            assert writer.wait()

        def together(loops: int) -> None:
            for done in [pool.submit(publish) for _ in range(loops)]:
                done.result()

        yield Pair(together, again(publish), COMMITS)
        writer.close()
