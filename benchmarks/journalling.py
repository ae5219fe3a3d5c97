"""The cost of the journal: runs with it and without, in crowds, made durable, and its size."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from contextvars import copy_context
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

from benchmarks.calls import hook, hooks, hooks_in_words, work
from benchmarks.catalogue import (
    OFF,
    ON,
    POWER,
    Plan,
    Target,
    drained,
    journalled,
    paired,
    workload,
)
from benchmarks.measure import Pair, Reading, Side, again, on_loop
from benchmarks.submitted import AT_ONCE, all_at_once
from eventflow import EventBus, flow, get_run_logger, task, use_bus
from eventflow.testing import isolated

LIBRARY: Final = logging.getLogger("benchmarks.library")

THREADS: Final = 4
IN_THREADS: Final = 4_000
"""How many runs a turn of threads makes together: each needs the interpreter's lock many times."""

PUBLISHERS: Final = 64
DURABLE: Final = 256
"""How many runs a turn of many publishers makes."""

STORED: Final = 20_000
"""How many runs the size of the journal is measured with."""

RECORD: Final = b"." * 150
"""As many bytes as a run needs."""

SEGMENT: Final = 4 << 20
"""The size of the file that the floor of a flush writes to, over and over again."""

SIZE: Final = """
    SELECT sum(pgsize) FROM dbstat
    WHERE name NOT IN (SELECT name FROM sqlite_master WHERE tbl_name = 'feed')
"""


@contextmanager
def _without(side: Side) -> Iterator[Side]:
    """Yield the same side on a bus of its own, without a journal."""
    with use_bus(EventBus()) as own, journalled(OFF):
        # The settings in force at the first run on a bus are the ones that count.
        side(1)

    def turn(loops: int) -> None:
        with use_bus(own):
            side(loops)

    yield turn


def _calling(count: int) -> Side:
    """Return a flow that calls a task with so many hooks."""
    called = task(on_completion=hooks(count))(work)

    @flow(validate_parameters=False)
    def around(loops: int) -> None:
        for _ in range(loops):
            called(1)

    return around


# -- with the journal and without -----------------------------------------------------------------


def _task(count: int, _plan: Plan) -> Iterator[Pair]:
    """Call a task from a flow that is running."""
    with _without(_calling(count)) as bare:
        yield Pair(_calling(count), bare)


for _count, _target in (
    (0, Target(1.7, "seven tenths of a run to append it and commit it")),
    (1, Target(1.6, "the same, of a run that takes longer")),
):
    paired(
        f"journal.task.{_count}",
        f"task call in a flow, {hooks_in_words(_count)}, journal on",
        floor="journal off",
        target=_target,
        mode=ON,
    )(partial(_task, _count))


def _logging(logger: Callable[[], Any]) -> Side:
    """Return a flow that logs with such a logger; no handler writes the lines anywhere."""

    @flow(validate_parameters=False)
    def around(loops: int) -> None:
        log = logger()
        for number in range(loops):
            log.warning("row %d of %s", number, "customers")

    return around


def _log(logger: Callable[[], Any], _plan: Plan) -> Iterator[Pair]:
    handled, LIBRARY.handlers = LIBRARY.handlers, [logging.NullHandler()]
    root, logging.root.handlers = logging.root.handlers, [logging.NullHandler()]
    try:
        with _without(_logging(logger)) as bare:
            yield Pair(_logging(logger), bare)
    finally:
        LIBRARY.handlers, logging.root.handlers = handled, root


for _name, _about, _logger in (
    ("library", "a line of a library's logger", lambda: LIBRARY),
    ("run", "a line of a run's logger", get_run_logger),
):
    paired(
        f"journal.log.{_name}",
        f"{_about} in a flow, journal on",
        floor="journal off",
        mode=ON,
    )(partial(_log, _logger))


@paired(
    "journal.computing",
    "the same, beside a thread that computes",
    floor="journal off, beside one too",
    target=Target(2.0, "nothing waits for the interpreter's lock but the last commit"),
    rounds=7,
    mode=ON,
)
def computing(plan: Plan) -> Iterator[Pair]:
    """Call a task with a hook while another thread takes the interpreter's lock when it can."""
    stopped = Event()

    def compute() -> None:
        while not stopped.is_set():
            sum(range(1_000))

    thread = Thread(target=compute, daemon=True)
    thread.start()
    try:
        yield from _task(1, plan)
    finally:
        stopped.set()
        thread.join()


@paired(
    "journal.threads",
    f"task call, one hook, by {THREADS} threads at once",
    floor="by one thread",
    target=Target(1.3, "threads share the interpreter's lock, and no other"),
    rounds=7,
    mode=ON,
)
def threads(_plan: Plan) -> Iterator[Pair]:
    """Make as many calls in several threads as in one, all with the journal."""
    calls = again(task(on_completion=[hook])(work), 1)
    with ThreadPoolExecutor(THREADS) as pool:
        yield Pair(_shared(pool, THREADS, calls), drained(_shared(pool, 1, calls)), IN_THREADS)


def _shared(pool: ThreadPoolExecutor, count: int, calls: Side) -> Side:
    """Make a side of which so many threads do a share each, all on the bus in force."""

    def side(loops: int) -> None:
        share = max(1, loops // count)
        for done in [pool.submit(copy_context().run, calls, share) for _ in range(count)]:
            done.result()

    return side


@paired(
    "journal.threads.off",
    f"the same, by {THREADS} threads at once",
    floor="journal off, as many threads",
    target=Target(2.1, "1.3 times what one thread may take"),
    rounds=7,
    mode=ON,
)
def threads_with_and_without(_plan: Plan) -> Iterator[Pair]:
    """Make calls in several threads, with the journal and without."""
    calls = again(task(on_completion=[hook])(work), 1)
    with ThreadPoolExecutor(THREADS) as pool, _without(_shared(pool, THREADS, calls)) as bare:
        yield Pair(_shared(pool, THREADS, calls), bare, IN_THREADS)


@paired(
    "journal.async",
    "10,000 async tasks at once, one hook, journal on",
    floor="journal off",
    target=Target(1.35, "a third of a run that waits among thousands"),
    rounds=5,
    mode=ON,
)
def at_once(plan: Plan) -> Iterator[Pair]:
    """Submit async tasks on the flow's own loop, all before the first begins."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        with _without(on_loop(loop, all_at_once(1)[0])) as bare:
            yield Pair(on_loop(loop, all_at_once(1)[0]), bare, min(AT_ONCE, plan.crowd))


# -- against a loss of power ----------------------------------------------------------------------


@paired(
    "journal.power",
    "task call, one hook, journal power",
    floor="a store and a flush",
    target=Target(1.5, "half a flush for all but the flush"),
    mode=POWER,
)
def power(_plan: Plan) -> Iterator[Pair]:
    """Have each run on the disk before its hook is called, one after the other."""
    with _flushing() as floor:
        yield Pair(again(task(on_completion=[hook])(work), 1), floor)


@contextmanager
def _flushing() -> Iterator[Side]:
    """Yield a side that writes a record to a file that has room for it, and flushes the disk."""
    flush_data: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)
    with tempfile.TemporaryFile(prefix="eventflow-", buffering=0) as file:
        # Written once: a flush of a file that grows has to write more than the record.
        file.write(bytes(SEGMENT))
        os.fsync(file)
        file.seek(0)

        def side(loops: int) -> None:
            for _ in range(loops):
                if file.tell() + len(RECORD) > SEGMENT:
                    file.seek(0)
                file.write(RECORD)
                flush_data(file.fileno())

        yield side


@paired(
    "journal.publishers",
    f"the same, by {PUBLISHERS} publishers at once",
    floor="one after the other",
    target=Target(0.05, "20 times as many runs a second"),
    rounds=7,
    mode=POWER,
)
def publishers(plan: Plan) -> Iterator[Pair]:
    """Call a task from many threads at the same time: one flush of the disk serves them all."""
    count = min(PUBLISHERS, plan.crowd)
    calls = again(task(on_completion=[hook])(work), 1)
    with ThreadPoolExecutor(count) as pool:
        yield Pair(_shared(pool, count, calls), drained(calls), DURABLE)


# -- size -----------------------------------------------------------------------------------------


@workload(
    "journal.bytes",
    f"the journal of {STORED:,} task runs, for each, one hook",
    floor="(absolute)",
    target=Target(220.0, "a run is one row"),
    unit="B",
)
def size(plan: Plan) -> Reading:
    """Measure the tables and indexes of a journal, but for the feed: that is emptied in time."""
    runs = min(STORED, plan.task_runs)
    with tempfile.TemporaryDirectory(prefix="eventflow-") as name:
        home = Path(name)
        with journalled(ON), isolated(home):
            drained(_calling(1))(runs)
        with closing(sqlite3.connect(home / "journal.db")) as connection:
            ((stored,),) = connection.execute(SIZE)

    return Reading((stored / runs,))
