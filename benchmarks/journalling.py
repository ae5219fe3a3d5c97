"""What the journal costs: runs with it and without, lines on their way, a hook's commit."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import cycle, repeat
from pathlib import Path
from typing import Any, Final
from unittest.mock import Mock

from benchmarks.calls import hook, work
from benchmarks.catalogue import OFF, ON, POWER, Books, Plan, Target, kept, paired
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

THROUGHPUT: Final = (Target(2.0, issue=3), Target(1.67, issue=4))
"""60 % as many events a second: 1.67 times the time for the same events."""

COMMIT: Final = Target(1.5, issue=3)

MANY: Final = Target(0.05, issue=4)
"""20 times as many commits a second."""

LINES: Final = 2_000
"""How many lines there are to commit, one after the other and from the beginning again."""

PUBLISHERS: Final = 64
COMMITS: Final = 256
"""How many commits a turn has."""

RUNS: Final = 4_000
COLUMNS: Final = {"runs": len(RunRow._fields) + 1, "events": len(EventRow._fields)}


# -- runs -----------------------------------------------------------------------------------------


@contextmanager
def _without(body: Callable[[], object]) -> Iterator[Side]:
    """Give a side that makes calls on a bus of its own, of which nothing is recorded."""
    with use_bus(EventBus()) as own, kept(OFF):
        # The settings count that are in force at the first run on a bus.
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
    """Call a task with no hook: nobody waits for a commit before the end."""
    called = partial(task(work), 1)
    with _without(called) as bare:
        yield Pair(again(called), bare)


def _flow(_plan: Plan) -> Iterator[Pair]:
    """Call a flow whose hook runs whatever happens; with `power` the disk is waited for."""
    with _without(partial(flow(work), 1)) as bare:
        yield Pair(again(flow(on_completion=[hook])(work), 1), bare)


def _enter(name: str, books: Books, *targets: Target) -> None:
    what, sides, floor = {
        "task": ("task run, drained", _task, "journal off"),
        "flow": ("flow run, one guarded hook", _flow, "no hook, journal off"),
    }[name]
    journal = "power" if books is POWER else "on"
    paired(
        f"journal.{name}.{journal}",
        f"{what}, journal {journal}",
        *targets,
        floor=floor,
        books=books,
    )(sides)


_enter("task", ON, Target(2.0, issue=3))
_enter("task", POWER)
_enter("flow", ON, Target(10.0, issue=3))
_enter("flow", POWER)


# -- lines ----------------------------------------------------------------------------------------


def _written(runs: int, *, hooked: bool) -> list[bytes]:
    """Give the lines of so many task runs; with a hook, of the transitions owed to it."""
    with use_bus(EventBus()) as own:
        lines: list[bytes] = []
        sink = Mock(owner="owner", begun=True, waits=False, given_up=frozenset())
        sink.append = lines.append
        recorder = Recorder(sink, own)
        own.recorder, own.composed = recorder, True
        called = task(on_running=[hook] if hooked else None)(work)
        for _ in range(runs):
            called(1)
        recorder.flush_held()

    return [one for one in lines if not hooked or b'"deliveries"' in one]


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="eventflow-") as name:
        yield Path(name)


def _journal(folder: Path, durability: Durability = "process") -> SqliteJournal:
    """Begin a journal, with its tables."""
    journal = SqliteJournal(folder / "journal.db", durability)
    journal.statistics()

    return journal


def _no_trouble(error: Exception | None, lost: int) -> None:
    raise AssertionError((error, lost))


def _through_the_spool(lines: Sequence[bytes]) -> Side:
    def side(loops: int) -> None:
        with _folder() as folder:
            writer = Writer(_journal(folder), _no_trouble, spool=Spool(folder))
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
    *THROUGHPUT,
    floor="executemany, 1 transaction",
    rounds=11,
)
def events(plan: Plan) -> Iterator[Pair]:
    """Write what task runs leave, each side into a file of its own."""
    lines = _written(min(RUNS, plan.task_runs), hooked=False)
    yield Pair(_through_the_spool(lines), _many(lines), 1)


# -- a hook's commit ------------------------------------------------------------------------------


def _commits(durability: Durability, synchronous: str, plan: Plan) -> Iterator[Pair]:
    """Compare what is paid before a hook begins to an insert of one row, with its commit."""
    lines = cycle(_written(min(LINES, plan.task_runs), hooked=True))
    with ExitStack() as stack:
        ours, theirs = (stack.enter_context(_folder()) for _ in range(2))
        spool = Spool(ours) if durability == "process" else None
        writer = Writer(_journal(ours, durability), _no_trouble, spool=spool)
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


@paired("journal.commit.on", "a hook's delivery made durable", COMMIT, floor="one-row commit")
def commit(plan: Plan) -> Iterator[Pair]:
    """Survive the death of the process."""
    yield from _commits("process", "NORMAL", plan)


@paired("journal.commit.power", "the same, against a loss of power", COMMIT, floor="one-row commit")
def commit_with_power(plan: Plan) -> Iterator[Pair]:
    """Survive a loss of power: both flush the disk."""
    yield from _commits("power", "FULL", plan)


@paired(
    "journal.publishers",
    f"{COMMITS} commits, power, {PUBLISHERS} publishers at once",
    MANY,
    floor="one after the other",
    rounds=7,
)
def publishers(plan: Plan) -> Iterator[Pair]:
    """Have many threads wait for the disk together: one commit serves them all."""
    count = min(PUBLISHERS, plan.crowd)
    with _folder() as folder, ThreadPoolExecutor(count) as pool:
        lines = cycle(_written(min(LINES, plan.task_runs), hooked=True))
        writer = Writer(_journal(folder, "power"), _no_trouble)

        def publish() -> None:
            writer.append(next(lines))
            writer.notify()
            assert writer.wait()

        def together(loops: int) -> None:
            for done in [pool.submit(publish) for _ in range(loops)]:
                done.result()

        yield Pair(together, again(publish), COMMITS)
        writer.close()
