"""Appending and acknowledging, interrupted at each instruction by what may come in between."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from eventflow.errors import JournalError
from eventflow.journal.records import pack
from eventflow.journal.wal.appender import Appender
from eventflow.journal.wal.segments import Segment
from eventflow.journal.wal.spool import Spool
from eventflow.journal.wal.writer import Durable, Writer
from tests.journal.fakes import FakeStore, FaultyDisk, StatusLog
from tests.journal.wal.interrupts import interrupted
from tests.journal.writing import late, numbers_in, on_disk, owing, record

forking = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
OURS, HANDLERS, LAST = 900, 901, 902


class Threadless(Writer):
    """A writer whose records are committed when a test says so."""

    def _start_thread(self) -> bool:
        return True


@pytest.fixture(params=["mapped", "written", "memory"])
def make(
    request: pytest.FixtureRequest, store: FakeStore, status_log: StatusLog, tmp_path: Path
) -> Callable[[], Threadless]:
    """Return what makes writers, each with a folder of its own."""
    if request.param == "written":
        request.getfixturevalue("no_mapping")
    numbers = count()

    def new() -> Threadless:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        store.received.clear()
        spool = None if request.param == "memory" else Spool(folder, segment_bytes=4096)
        return Threadless(store, status_log, spool=spool)

    return new


def test_what_interrupts_an_append_appends_too(
    make: Callable[[], Threadless], store: FakeStore
) -> None:
    """At whichever instruction: both records are whole, each there once, and so are later ones."""
    for place in count():
        writer = make()
        writer.append(record(0))
        with interrupted(
            Appender.append, place, partial(writer.append, record(HANDLERS))
        ) as inside:
            writer.append(record(OURS))
        if not inside.happened:
            break
        segment, _ = writer.append(record(LAST))
        assert writer.append(record(1))[0] is segment, "the mark is gone"
        assert writer.flush()
        numbers = [number for group in store.groups for number in group]
        assert sorted(numbers) == [0, 1, OURS, HANDLERS, LAST]
        writer.close()
    assert place > 50


def test_what_interrupts_the_taking_of_a_segment_appends_too(
    make: Callable[[], Threadless], store: FakeStore
) -> None:
    """Both calls take one, and nothing is lost."""
    for function in (Appender._next_segment, Spool.take, Spool._open, Spool._next):
        for place in count():
            writer = make()
            with interrupted(function, place, partial(writer.append, record(HANDLERS))) as inside:
                writer.append(record(OURS))
            writer.append(record(LAST))
            assert writer.flush()
            assert sorted(store.numbers) == sorted([OURS, LAST] + [HANDLERS] * inside.happened)
            writer.close()
            if not inside.happened:
                break


def test_what_interrupts_an_append_may_save_the_segment(
    store: FakeStore, status_log: StatusLog, tmp_path: Path, disk: FaultyDisk, no_mapping: None
) -> None:
    """At whichever instruction: what is appended after that is in the file too."""
    store.error = JournalError("gone")
    for place in count():
        folder = tmp_path / str(place)
        folder.mkdir()
        writer = Threadless(store, status_log, spool=Spool(folder))
        writer.append(record(0))
        disk.full = True
        writer.append(record(1))
        disk.full = False
        with interrupted(
            Appender.append, place, partial(writer.append, record(HANDLERS))
        ) as inside:
            writer.append(record(OURS))
        if not inside.happened:
            break
        assert writer.kept == 0
        assert sorted(on_disk(folder)) == [0, 1, OURS, HANDLERS]


@pytest.mark.parametrize("durable", ["appended", "flushed", "committed"])
def test_what_interrupts_an_append_may_call_everything(
    make: Callable[[], Threadless], store: FakeStore, durable: Durable
) -> None:
    """It waits for nothing, commits nothing, and what it appends is committed later."""

    def handler() -> None:
        segment, offset = writer.append(owing(HANDLERS), owed=True)
        writer.acknowledge(segment, offset, 1, 1, 7)
        writer.notify()
        returned.append((writer.flush(), writer.waits, writer.wait(), writer.close()))

    for place in count():
        writer, returned = make(), list[tuple[bool, ...]]()
        writer.durable = durable
        with interrupted(Appender.append, place, handler) as inside:
            writer.append(record(OURS))
        if not inside.happened:
            break
        writer.flush()
        assert len(returned) == 1
        assert sorted(store.numbers) == [OURS, HANDLERS]
        assert store.done[HANDLERS] == 1
        writer.close()


def test_what_interrupts_a_flush_to_the_disk_waits_for_no_one(
    store: FakeStore, status_log: StatusLog, spool_folder: Path
) -> None:
    """Not even for a thread that flushes, and needs the lock that the interrupted one has."""
    spool = Spool(spool_folder)
    writer = Threadless(store, status_log, spool=spool, durable="flushed")
    writer.append(record(0))
    with writer.lock:
        thread = threading.Thread(target=writer.wait)
        thread.start()
        while writer._syncers._lock.acquire(blocking=False):
            writer._syncers._lock.release()
        # The other thread has that lock, and waits for this one.
        assert not writer.wait()
    thread.join(60)
    assert not thread.is_alive()
    writer.close()


def test_an_interrupt_loses_no_record(make: Callable[[], Threadless], store: FakeStore) -> None:
    """Neither its own nor others, and the next append goes on in the same segment."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    for place in count():
        writer = make()
        writer.append(record(0))
        with (
            suppress(KeyboardInterrupt),
            interrupted(Appender.append, place, interrupt, after_calls=True) as inside,
        ):
            writer.append(record(OURS))
            assert not inside.happened
        if not inside.happened:
            break
        writer.append(record(LAST))
        assert writer.flush()
        second, _ = writer.append(record(1))
        assert writer.append(record(2))[0] is second
        assert writer.flush()
        assert {*store.numbers} - {OURS} == {0, 1, 2, LAST}
        writer.close()


def test_a_finalizer_may_append_in_the_middle_of_an_append(
    store: FakeStore, status_log: StatusLog, spool_folder: Path
) -> None:
    """A collection at any instruction runs finalizers, which may run whole flows."""

    class Late:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            writer.append(record(HANDLERS))

    writer = Threadless(store, status_log, spool=Spool(spool_folder, segment_bytes=2**16))
    total = 0
    for place in count():
        Late()
        with interrupted(Appender.append, place, gc.collect) as inside:
            writer.append(record(0))
        if not inside.happened:
            break
        total += 1
    gc.collect()
    assert writer.flush()
    numbers = [number for group in store.groups for number in group]
    assert numbers.count(HANDLERS) == numbers.count(0) == total + 1
    writer.close()


def note_fork(writer: Writer, forked: list[tuple[bool, int]]) -> None:
    """Fork, and note whether the append had begun, and the child."""
    forked.append((writer._is_reentrant(), os.fork()))


@forking
def test_a_fork_in_the_middle_of_an_append(
    store: FakeStore, status_log: StatusLog, tmp_path: Path
) -> None:
    """The record is the parent's; the child appends its own, and acknowledges nothing there."""

    for place in count(step=3):
        forked: list[tuple[bool, int]] = []
        folder = tmp_path / str(place)
        folder.mkdir()
        writer = Threadless(store, status_log, spool=Spool(folder))
        store.received.clear()
        writer.append(record(0))
        fork = partial(note_fork, writer, forked)
        with interrupted(Appender.append, place, fork) as inside:
            segment, offset = writer.append(owing(OURS), owed=True)
        begun, child = forked[0] if forked else (False, -1)
        if child == 0:
            status = 1
            with suppress(BaseException):
                writer.append(record(1))
                told = writer.acknowledge(segment, offset, 1, 1, 1) and writer.flush()
                status = 0 if told and store.numbers in ([1], [OURS, 1][begun:]) else 2
            os._exit(status)
        if not inside.happened:
            writer.close()
            break
        assert os.waitpid(child, 0)[1] == 0, place
        assert on_disk(folder) == [0, OURS]
        assert segment.data[offset + 15] == 0, "the child has acknowledged the parent's record"
        assert writer.flush()
        assert store.numbers == [0, OURS]
        writer.close()


# -- acknowledging against committing ------------------------------------------------------------


def acknowledge(writer: Writer, place: tuple[Segment, int], number: int, done: int) -> None:
    """Acknowledge as publishers do: in place, or else with a record of its own."""
    if not writer.acknowledge(*place, done, done, 10**15 + done):
        writer.append(late(number, 2, done))


def commit_elsewhere(writer: Writer, thread: threading.Thread) -> None:
    """Have another thread commit; if this one has the lock, it goes on when that is free."""
    thread.start()
    if not writer._is_reentrant():
        thread.join(60)


def test_a_commit_in_the_middle_of_an_acknowledgement(
    make: Callable[[], Threadless], store: FakeStore
) -> None:
    """At whichever instruction: what was done is known in the end."""
    for place in count():
        writer = make()
        where = writer.append(owing(OURS, 2), owed=True)
        thread = threading.Thread(target=writer.flush)
        commit = partial(commit_elsewhere, writer, thread)
        with interrupted(Appender.acknowledge, place, commit) as inside:
            acknowledge(writer, where, OURS, 1)
        if not inside.happened:
            break
        thread.join(60)
        writer.flush()
        assert store.done == {OURS: 1}
        acknowledge(writer, where, OURS, 2)
        writer.flush()
        assert store.done == {OURS: 2}
        writer.close()


def tell(told: list[bool], call: Callable[[], bool]) -> None:
    told.append(call())


@pytest.mark.parametrize("owed", [True, False])
def test_an_acknowledgement_in_the_middle_of_a_commit(
    make: Callable[[], Threadless], store: FakeStore, owed: bool
) -> None:
    """At whichever instruction, between the mark and the copy too."""
    for function in (Segment.take, Writer._commit_segment, Segment.advance):
        for place in count():
            writer = make()
            where = writer.append(owing(OURS, 2), owed=owed)
            told: list[bool] = []
            acknowledges = partial(tell, told, partial(writer.acknowledge, *where, 1, 1, 10**15))
            with interrupted(function, place, acknowledges) as inside:
                writer.flush()
            if not inside.happened:
                break
            assert store.done == {OURS: 1} or told == [False]
            writer.close()


def test_the_record_of_a_hook_that_runs_is_not_taken_for_a_second(
    make: Callable[[], Threadless], store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor what comes after; what comes before is. `flush` takes all."""
    clock = 1000.0
    for name in ("appender", "segments"):
        monkeypatch.setattr(
            sys.modules[f"eventflow.journal.wal.{name}"], "monotonic", lambda: clock
        )
    writer = make()
    writer.append(record(0))
    where = writer.append(owing(OURS), owed=True)
    writer.append(record(2))
    assert not writer._flush(retry=True, everything=False)
    assert store.groups == [[0]]
    clock += 0.99
    assert not writer._flush(retry=True, everything=False)
    writer.append(owing(LAST), owed=True)
    clock += 0.02
    assert not writer._flush(retry=True, everything=False)
    assert store.groups == [[0], [OURS, 2]]
    assert not writer.acknowledge(*where, 1, 1, 1)
    assert writer.flush()
    assert store.groups == [[0], [OURS, 2], [LAST]]
    writer.close()


def test_a_place_where_hooks_still_run_is_not_used_again(
    store: FakeStore, status_log: StatusLog, spool_folder: Path
) -> None:
    """What is acknowledged there late changes no other record."""
    writer = Threadless(store, status_log, spool=Spool(spool_folder, segment_bytes=1024))
    where = writer.append(owing(OURS), owed=True)
    for number in range(100):
        writer.append(owing(number), owed=True)
    assert writer.flush()
    for number in range(100):
        segment, _ = writer.append(record(number))
        assert segment is not where[0]
        assert segment.data is not where[0].data

    assert not writer.acknowledge(*where, 1, 1, int.from_bytes(b"too late"))
    assert writer.flush()
    assert all(b"too late" not in group.data for group in store.received)
    writer.close()


def test_the_way_of_a_record_is_short(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call each of this package to append and to acknowledge, and none of the system."""
    writer.append(record(0))
    owed, calls = owing(OURS), list[str]()

    def note(frame: object, event: str, argument: object) -> None:
        if event == "call":
            calls.append(frame.f_code.co_name)  # type: ignore[attr-defined]
        elif event == "c_call" and getattr(argument, "__module__", "") in {"posix", "mmap"}:
            calls.append(repr(argument))

    sys.setprofile(note)
    try:
        where = writer.append(owed, owed=True)
        writer.acknowledge(*where, 1, 1, 10**15)
    finally:
        sys.setprofile(None)

    assert calls == ["append", "acknowledge"]


def test_a_full_disk_is_noticed_when_a_segment_is_taken(
    store: FakeStore, status_log: StatusLog, spool_folder: Path, disk: FaultyDisk
) -> None:
    """What fits into the present one survives the process; the rest waits in memory until then."""
    writer = Threadless(store, status_log, spool=Spool(spool_folder, segment_bytes=1024))
    store.error = JournalError("full too")
    writer.append(record(0))
    disk.full = True
    numbers = list(range(40))
    for number in numbers[1:]:
        writer.append(record(number))
    whole = on_disk(spool_folder)
    assert whole == numbers[: len(whole)]
    assert 4 < len(whole) < 12
    assert writer.kept == len(numbers) - len(whole)
    assert writer.down
    disk.full = False

    assert not writer.flush()
    assert on_disk(spool_folder) == numbers
    assert writer.kept == 0
    segment, _ = writer.append(record(40))
    assert segment.mapped
    store.error = None
    assert writer.flush()
    assert store.numbers == [*numbers, 40]
    writer.close()


def test_memory_is_limited(
    store: FakeStore, status_log: StatusLog, caplog: pytest.LogCaptureFixture
) -> None:
    """The newest records are lost, which is counted and logged once; hooks run all the same."""
    writer = Threadless(store, status_log, capacity=1000)
    store.error = JournalError("gone")
    for number in range(0, 300, 3):
        where = writer.append(owing(number), owed=True)
        assert writer.acknowledge(*where, 1, 1, 1)
    fitting = 100 - writer.lost
    assert 4 < fitting < 9
    store.error = None

    assert writer.flush()
    assert store.numbers == list(range(0, 3 * fitting, 3))
    assert f"{100 - fitting} are lost" in caplog.text
    writer.append(record(7))
    assert writer.flush()
    writer.close()


def test_a_record_may_be_larger_than_a_segment(make: Callable[[], Threadless]) -> None:
    """It gets one of its own size, which is not kept for later."""
    writer = make()
    huge = pack("E", "x" * 20_000)
    writer.append(record(0))
    segment, offset = writer.append(huge)
    writer.append(owing(OURS))
    assert bytes(segment.data[offset : offset + len(huge)]) == huge
    assert writer.flush()
    assert writer.close()


def test_numbers_can_be_read_behind_a_hole() -> None:
    """What these tests read with, as the journal does where an interrupt has left one."""
    assert numbers_in(record(0) + bytes(100) + record(1)) == [0, 1]
