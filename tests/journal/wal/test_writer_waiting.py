"""What a publisher waits for: the disk, a commit, or nothing; and who does it for all."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eventflow.errors import JournalError
from eventflow.journal.wal.spool import Spool
from eventflow.journal.wal.writer import Writer
from tests.journal.fakes import FakeStore, FaultyDisk, StatusLog, hold_up
from tests.journal.writing import append_and_wait, on_disk, owing, record


class Flushes:
    """Counts what was flushed to the disk, by the name of the file, and can hold it up."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.on_flush: Callable[[], None] = lambda: None
        self._fdatasync, self._fsync = os.fdatasync, os.fsync

    def fdatasync(self, fd: int) -> None:
        self.names.append(Path(f"/proc/self/fd/{fd}").readlink().name)
        self.on_flush()
        self._fdatasync(fd)

    def fsync(self, fd: int) -> None:
        self.names.append(Path(f"/proc/self/fd/{fd}").readlink().name + "/")
        self._fsync(fd)


@pytest.fixture
def flushes(monkeypatch: pytest.MonkeyPatch) -> Flushes:
    made = Flushes()
    monkeypatch.setattr(os, "fdatasync", made.fdatasync)
    monkeypatch.setattr(os, "fsync", made.fsync)
    return made


@pytest.fixture
def flushing(store: FakeStore, status_log: StatusLog, spool_folder: Path) -> Iterator[Writer]:
    """Make a writer whose records have to survive a loss of power."""
    made = Writer(store, status_log, spool=Spool(spool_folder), durable="flushed")
    yield made
    store.recover()
    made.close()


@pytest.fixture
def committing(store: FakeStore, status_log: StatusLog, spool_folder: Path) -> Iterator[Writer]:
    """Make a writer whose records have to survive this host."""
    made = Writer(store, status_log, spool=Spool(spool_folder), durable="committed")
    yield made
    store.recover()
    made.close()


# -- a loss of power -----------------------------------------------------------------------------


def test_a_record_that_survives_a_loss_of_power_is_flushed(
    flushing: Writer, store: FakeStore, flushes: Flushes
) -> None:
    """Once each, with the folders of a new file before it; no commit is waited for."""
    begun, release = hold_up(store)
    for number in range(3):
        flushing.append(record(number))
        assert flushing.waits
        assert flushing.wait()
        assert flushing.wait()
    assert flushes.names[0] == "owner/"
    assert flushes.names[-3:] == ["segment-1"] * 3
    assert len(flushes.names) == 6
    assert begun.wait(60)
    release.set()
    store.wait_for(0, 1, 2)


def test_one_flush_is_for_all_that_wait(
    flushing: Writer, store: FakeStore, flushes: Flushes
) -> None:
    """Those that come during one share the next, also while the journal is down."""
    store.error = JournalError("gone")
    begun, release = threading.Event(), threading.Event()

    def hold() -> None:
        flushes.on_flush = lambda: None
        begun.set()
        assert release.wait(60)

    flushes.on_flush = hold
    waited: list[bool] = []
    entered = threading.Semaphore(0)

    def publish(number: int) -> None:
        flushing.append(record(number))
        entered.release()
        waited.append(flushing.wait())

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(9)]
    threads[0].start()
    assert begun.wait(60)
    for thread in threads[1:]:
        thread.start()
    for _ in threads:
        assert entered.acquire(timeout=60)
    release.set()
    for thread in threads:
        thread.join(60)

    assert waited == [True] * 9
    assert flushes.names.count("segment-1") == 2


def test_a_record_in_an_older_file_is_flushed_too(
    store: FakeStore, status_log: StatusLog, spool_folder: Path, flushes: Flushes
) -> None:
    """All files that hold records since the last flush are."""
    spool = Spool(spool_folder, segment_bytes=512)
    writer = Writer(store, status_log, spool=spool, durable="flushed")
    store.error = JournalError("gone")
    for number in range(0, 12, 3):
        writer.append(record(number))
    assert writer.wait()
    assert {"segment-1", "segment-2"} <= {*flushes.names}
    store.error = None
    writer.close()


def test_where_a_flush_fails_a_commit_is_awaited(
    flushing: Writer, store: FakeStore, flushes: Flushes
) -> None:
    """And if that fails too, the publisher is told so. What comes next goes to another file."""

    def fail() -> None:
        raise OSError(5, "Input/output error")

    flushes.on_flush = fail
    flushing.append(record(0))
    assert flushing.wait()
    assert store.numbers == [0]
    store.error = JournalError("gone")
    flushing.append(record(1))
    assert not flushing.wait()
    flushes.on_flush = lambda: None
    flushing.append(record(2))
    assert flushing.wait()
    assert flushes.names[-1] == "segment-3"
    store.error = None
    assert flushing.flush()
    assert store.numbers == [0, 1, 2]


def test_without_room_for_a_file_a_commit_is_awaited(
    flushing: Writer, store: FakeStore, disk: FaultyDisk
) -> None:
    """Memory survives nothing."""
    disk.full = True
    flushing.append(record(0))

    assert flushing.wait()
    assert store.numbers == [0]


# -- commits -------------------------------------------------------------------------------------


@pytest.fixture(params=["committing", "unspooled"])
def waiting(request: pytest.FixtureRequest) -> Writer:
    """Make writers whose publishers wait for a commit."""
    made: Writer = request.getfixturevalue(request.param)
    return made


def test_a_publisher_that_waits_commits_itself(waiting: Writer, store: FakeStore) -> None:
    """Its record is durable on return, with all earlier ones, and no other thread was needed."""
    waiting.append(record(0))
    waiting.append(owing(1), owed=True)
    assert waiting.waits

    assert waiting.wait()

    assert store.groups == [[0, 1]]
    assert store.committers == [threading.current_thread().name]


def test_publishers_share_a_commit(waiting: Writer, store: FakeStore) -> None:
    """Records that come during a commit are committed together by the next one."""
    begun, release = hold_up(store)
    durable: list[bool] = []
    entered = threading.Semaphore(0)

    def publish(number: int) -> None:
        waiting.append(record(number))
        entered.release()
        durable.append(waiting.wait())

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(9)]
    threads[0].start()
    assert begun.wait(60)
    for thread in threads[1:]:
        thread.start()
    for _ in threads:
        assert entered.acquire(timeout=60)
    release.set()
    for thread in threads:
        thread.join(60)

    assert durable == [True] * 9
    assert [len(group) for group in store.groups] == [1, 8]


def test_a_publisher_does_not_wait_for_later_records(waiting: Writer, store: FakeStore) -> None:
    """One that publishes all the time does not delay those whose records are committed."""
    begun, release = hold_up(store)
    stop, served, entered = threading.Event(), threading.Semaphore(0), threading.Semaphore(0)

    def hold() -> None:
        # All commits after the one for the waiting publishers.
        assert len(store.groups) < 2 or stop.wait(60)

    def publish_on() -> None:
        append_and_wait(waiting, 1000)
        store.on_commit = hold
        number = 1001
        while not stop.is_set():
            append_and_wait(waiting, number)
            number += 1

    def publish_once(number: int) -> None:
        waiting.append(record(number))
        entered.release()
        waiting.wait()
        served.release()

    busy = threading.Thread(target=publish_on)
    others = [threading.Thread(target=publish_once, args=(number,)) for number in range(8)]
    busy.start()
    assert begun.wait(60)
    for thread in others:
        thread.start()
    for _ in others:
        assert entered.acquire(timeout=60)
    release.set()
    try:
        assert all(served.acquire(timeout=60) for _ in others)
    finally:
        stop.set()
        for thread in (busy, *others):
            thread.join()


def test_publishers_do_not_retry_a_failed_journal(waiting: Writer, store: FakeStore) -> None:
    """Those that waited behind the one that saw the error return at once."""
    begun, release = hold_up(store)
    store.error = JournalError("locked for long")
    durable: list[bool] = []
    entered = threading.Semaphore(0)

    def publish(number: int) -> None:
        waiting.append(record(number))
        entered.release()
        durable.append(waiting.wait())

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(5)]
    threads[0].start()
    assert begun.wait(60)
    for thread in threads[1:]:
        thread.start()
    for _ in threads:
        assert entered.acquire(timeout=60)
    release.set()
    for thread in threads:
        thread.join()

    assert durable == [False] * 5
    # The background thread tries again later, as it is meant to.
    assert [name for name in store.attempts if name != "eventflow-journal"] == [threads[0].name]


def test_failure_and_recovery_are_reported_once(
    waiting: Writer, store: FakeStore, status_log: StatusLog
) -> None:
    """Records are kept in their order, and committed by the thread when the journal works again."""
    store.error = JournalError("disk full")

    assert not any(append_and_wait(waiting, number) for number in range(5))
    assert not waiting.wait()
    assert waiting.down
    store.error = None

    assert status_log.recovered.wait(60)
    assert [str(error) for error, _ in status_log.calls] == ["disk full", "None"]
    assert store.numbers == list(range(5))
    assert append_and_wait(waiting, 5)


def test_what_cannot_be_committed_is_in_a_file(
    committing: Writer, store: FakeStore, spool_folder: Path
) -> None:
    """Where a commit is awaited too, and the publisher goes on when it fails."""
    store.error = JournalError("gone")
    assert not append_and_wait(committing, 0)
    assert not append_and_wait(committing, 1)

    assert on_disk(spool_folder) == [0, 1]
    assert committing.kept == 0


def test_where_nothing_is_awaited_the_thread_commits(
    store: FakeStore, status_log: StatusLog
) -> None:
    """A publisher returns at once."""
    writer = Writer(store, status_log, durable="kept")
    writer.append(record(0))
    assert not writer.waits
    assert writer.wait()
    assert store.attempts == []
    writer.notify()

    store.wait_for(0)
    assert store.committers == ["eventflow-journal"]
    writer.close()


def test_within_a_hooks_transaction_records_are_kept(
    any_writer: Writer, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are committed afterwards, and that is no failure."""
    with monkeypatch.context() as patch:
        patch.setattr(store, "in_transaction", lambda: True)
        any_writer.append(owing(0))
        assert any_writer.wait() is (any_writer.spool is not None)
        assert not any_writer.flush()
        assert not any_writer.down

    assert any_writer.flush()
    assert store.numbers == [0]
