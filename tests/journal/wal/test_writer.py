"""Records are committed in order and none is lost: mapped, written, or in memory."""

from __future__ import annotations

import threading
from queue import SimpleQueue

import pytest

from eventflow.errors import JournalError
from eventflow.journal.contract import StaleOwnerError
from eventflow.journal.wal import writer as writer_module
from eventflow.journal.wal.writer import Writer
from tests.journal.fakes import FakeStore, StatusLog, hold_up
from tests.journal.writing import append, append_and_wait, owing


def test_records_are_committed_soon(any_writer: Writer, store: FakeStore) -> None:
    """By a background thread, all that come meanwhile as one group, as the bytes they are."""
    begun, release = hold_up(store)
    append(any_writer, 0)
    assert begun.wait(60)
    for number in range(1, 2000):
        append(any_writer, number)
    assert any_writer.notified
    release.set()
    store.wait_for(*range(2000))

    assert store.numbers == list(range(2000))
    assert len(store.groups) < 6
    assert set(store.committers) == {"eventflow-journal"}


def test_the_thread_sleeps_while_there_is_no_record(
    store: FakeStore, status_log: StatusLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits without a timeout, and is woken by the next one."""
    waits: list[float | None] = []
    asleep = threading.Event()

    class Wakeups(SimpleQueue[None]):
        def get(self, block: bool = True, timeout: float | None = None) -> None:
            waits.append(timeout)
            if timeout is None and len(waits) > 1:
                asleep.set()
            super().get(block, timeout)

    monkeypatch.setattr(writer_module, "SimpleQueue", Wakeups)
    writer = Writer(store, status_log)
    append(writer, 0)
    assert asleep.wait(60)

    assert waits[0] is None
    assert waits[-1] is None
    append(writer, 1)
    store.wait_for(1)
    writer.close()


def test_the_thread_commits_a_record_whose_hooks_run_on_after_a_second(
    any_writer: Writer, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to notify it for that; one whose hooks are done it commits within a moment."""
    any_writer.append(owing(0), owed=True)
    done = any_writer.append(owing(1), owed=True)
    assert any_writer.acknowledge(*done, 1, 1, 1)
    any_writer.notify()
    monkeypatch.setattr("eventflow.journal.wal.segments.OPEN_SECONDS", 0.2)

    store.wait_for(0, 1)
    assert store.done == {0: 0, 1: 1}


def test_what_is_held_back_is_appended_before_each_commit(
    store: FakeStore, status_log: StatusLog
) -> None:
    """It is in the same group; that it fails is reported, and keeps the records."""
    held = [1]

    def write() -> None:
        while held:
            append(writer, held.pop())

    writer = Writer(store, status_log, before_commit=write)
    append(writer, 0)
    assert writer.flush()
    assert store.numbers == [0, 1]
    writer.close()


def test_without_a_thread_the_publisher_commits(
    any_writer: Writer, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the limit of threads or at the end of the process, no record waits for one."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    append(any_writer, 0)
    assert store.numbers == [0]
    any_writer.append(owing(1), owed=True)
    any_writer.notify()
    assert store.numbers == [0, 1]

    store.error = JournalError("gone")
    append(any_writer, 2)
    store.error = None
    append(any_writer, 3)
    assert store.numbers == [0, 1, 2, 3]


def test_a_record_that_cannot_be_stored_keeps_no_other_out(
    any_writer: Writer, store: FakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    """It is found among many, in few commits, and is the only one that is lost."""
    store.unstorable = {300, 301, 777}
    for number in range(1000):
        any_writer.append(owing(number, 0))

    assert not any_writer.flush()

    assert store.numbers == [number for number in range(1000) if number not in store.unstorable]
    assert len(store.attempts) < 120
    assert any_writer.lost == 3
    assert "will not be" in caplog.text
    assert any_writer.flush()


def test_a_stale_owner_is_reported(
    any_writer: Writer, store: FakeStore, status_log: StatusLog
) -> None:
    """Its records are refused for good; others are not."""
    store.error = StaleOwnerError("owner", 1)

    append_and_wait(any_writer, 0)
    any_writer.flush()

    assert status_log.failed.wait(60)
    assert isinstance(status_log.calls[0][0], StaleOwnerError)
    assert any_writer.lost == 1
    store.error = None
    assert append_and_wait(any_writer, 1)
    assert any_writer.flush()
    assert store.numbers == [1]


def test_a_commit_of_unknown_outcome_is_repeated(any_writer: Writer, store: FakeStore) -> None:
    """Until the journal confirms it, with what is appended and acknowledged meanwhile."""
    place = any_writer.append(owing(0), owed=True)
    store.late_error = JournalError("connection lost")
    assert not any_writer.flush()
    assert not any_writer.acknowledge(*place, 1, 1, 1)
    any_writer.append(owing(1, 0))
    store.late_error = None

    assert any_writer.flush()
    assert store.groups == [[0], [0, 1]]
    assert store.done == {0: 1, 1: 0}


def test_an_interrupt_within_a_commit_loses_nothing(any_writer: Writer, store: FakeStore) -> None:
    """The records are still there for the next commit, and the writer is usable."""

    def interrupt() -> None:
        store.on_commit = lambda: None
        raise KeyboardInterrupt

    any_writer.append(owing(0))
    store.on_commit = interrupt
    with pytest.raises(KeyboardInterrupt):
        any_writer.flush()

    assert any_writer.flush()
    assert store.numbers == [0]


def test_publishing_from_within_a_commit_does_not_wait_for_itself(
    any_writer: Writer, store: FakeStore
) -> None:
    """A finalizer may publish at any moment: its record is kept, and committed later."""
    inner: list[bool] = []

    def finalizer() -> None:
        store.on_commit = lambda: None
        append_and_wait(any_writer, 1)
        inner.append(any_writer.flush())

    any_writer.append(owing(0))
    store.on_commit = finalizer
    assert any_writer.flush()

    assert inner == [False]
    store.wait_for(1)
    assert store.numbers == [0, 1]


def test_any_error_of_the_journal_is_reported(
    any_writer: Writer, store: FakeStore, status_log: StatusLog
) -> None:
    """A bug in the journal keeps records waiting, and does not end the thread."""
    store.error = ZeroDivisionError("mistake")
    append(any_writer, 0)
    assert status_log.failed.wait(60)
    store.error = None

    store.wait_for(0)
    assert "ZeroDivisionError" in str(status_log.calls[0][0])


def test_a_callback_that_fails_does_not_end_the_thread(store: FakeStore) -> None:
    """The records are committed all the same."""

    def fail(error: JournalError | None, lost: int) -> None:
        raise ZeroDivisionError

    writer = Writer(store, fail)
    store.error = JournalError("gone")
    append(writer, 0)
    while not store.attempts:
        pass
    store.error = None

    store.wait_for(0)
    append(writer, 1)
    store.wait_for(1)
    writer.close()
    assert store.numbers == [0, 1]


def test_closing_commits_the_remaining_records(any_writer: Writer, store: FakeStore) -> None:
    """It may be repeated, also those whose hooks run; later ones are committed at once."""
    append(any_writer, 0)
    any_writer.append(owing(1), owed=True)

    assert any_writer.close()
    assert any_writer.close()
    append(any_writer, 2)

    assert store.numbers == [0, 1, 2]
    if any_writer.spool is not None:
        assert list(any_writer.spool.folder.iterdir()) == []


def test_closing_says_if_records_remain(any_writer: Writer, store: FakeStore) -> None:
    """A journal that is down at the end is tried only once more."""
    store.error = JournalError("gone")
    append(any_writer, 0)

    assert not any_writer.close()


def test_many_threads_lose_nothing_and_keep_their_order(
    any_writer: Writer, store: FakeStore
) -> None:
    """The records of each thread are in its order, while others flush."""

    def put(thread: int) -> None:
        for place in range(300):
            number = thread * 999 + place
            if place % 50 == 7:
                assert append_and_wait(any_writer, number)
            else:
                append(any_writer, number)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        assert any_writer.flush()
    for thread in threads:
        thread.join()

    assert any_writer.flush()
    assert len(store.numbers) == 1800
    for thread_number in range(6):
        own = [number for number in store.numbers if number // 999 == thread_number]
        assert own == sorted(own)
