"""Lines are committed in order and none is lost, with a spool and without."""

from __future__ import annotations

import threading

import pytest

from eventflow.errors import JournalError
from eventflow.journal.contract import Fence, StaleOwnerError
from eventflow.journal.writer import Writer
from tests.journal.fakes import FakeStore, StatusLog
from tests.journal.writing import append, append_and_wait, numbered_lines


def test_without_a_thread_the_publisher_commits(
    any_writer: Writer, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the limit of threads or at the end of the process, no line waits for one."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    append(any_writer, b"line-0")
    assert store.lines == numbered_lines(1)

    store.error = JournalError("gone")
    append(any_writer, b"line-1")
    store.error = None
    append(any_writer, b"line-2")
    assert store.lines == numbered_lines(3)


def test_a_line_that_cannot_be_stored_keeps_no_other_out(
    any_writer: Writer, store: FakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    """It is found among many, in few commits, and is the only one that is lost."""
    store.unstorable = {b"line-300", b"line-301", b"line-777"}
    for line in numbered_lines(1000):
        any_writer.append(line)

    assert not any_writer.flush()

    assert set(numbered_lines(1000)) - set(store.lines) == store.unstorable
    assert store.lines == [line for line in numbered_lines(1000) if line not in store.unstorable]
    assert len(store.attempts) < 120
    assert any_writer.lost == 3
    assert "will not be" in caplog.text
    assert any_writer.flush()


def test_a_stale_owner_is_reported(
    any_writer: Writer, store: FakeStore, status_log: StatusLog
) -> None:
    """Its lines are refused for good; with a new fence the writer works again."""
    any_writer.fence = Fence("owner", 1)
    store.error = StaleOwnerError("owner", 1)

    append_and_wait(any_writer, b"line-0")
    any_writer.flush()

    assert status_log.failed.wait(60)
    assert isinstance(status_log.calls[0][0], StaleOwnerError)
    assert any_writer.lost == 1
    store.error = None
    any_writer.fence = Fence("owner", 2)
    assert append_and_wait(any_writer, b"line-1")
    assert any_writer.flush()
    assert store.lines == [b"line-1"]
    assert store.fences == [Fence("owner", 2)]


def test_a_commit_of_unknown_outcome_is_repeated(any_writer: Writer, store: FakeStore) -> None:
    """Until the journal confirms it."""
    store.late_error = JournalError("connection lost")
    append_and_wait(any_writer, b"line-0")
    assert not any_writer.flush()
    store.late_error = None

    assert any_writer.flush()
    assert store.distinct_lines == [b"line-0"]


def test_an_interrupt_within_a_commit_loses_nothing(any_writer: Writer, store: FakeStore) -> None:
    """The lines are still there for the next commit, and the writer is usable."""

    def interrupt() -> None:
        store.on_commit = lambda: None
        raise KeyboardInterrupt

    any_writer.append(b"line-0")
    store.on_commit = interrupt
    with pytest.raises(KeyboardInterrupt):
        any_writer.flush()

    assert any_writer.flush()
    assert store.lines == [b"line-0"]


def test_publishing_from_within_a_commit_does_not_wait_for_itself(
    any_writer: Writer, store: FakeStore
) -> None:
    """A finalizer may publish at any moment: its line is kept, and committed later."""
    inner: list[bool] = []

    def finalizer() -> None:
        store.on_commit = lambda: None
        append_and_wait(any_writer, b"line-1")
        inner.append(any_writer.flush())

    any_writer.append(b"line-0")
    store.on_commit = finalizer
    assert any_writer.flush()

    assert inner == [False]
    store.wait_for(b"line-1")
    assert store.lines == numbered_lines(2)


def test_a_callback_that_fails_does_not_end_the_thread(store: FakeStore) -> None:
    """The lines are committed all the same."""

    def fail(error: JournalError | None, lost: int) -> None:
        raise ZeroDivisionError

    writer = Writer(store, fail)
    store.error = JournalError("gone")
    append(writer, b"line-0")
    while not store.attempts:
        pass
    store.error = None

    store.wait_for(b"line-0")
    append(writer, b"line-1")
    store.wait_for(b"line-1")
    writer.close()
    assert store.lines == [b"line-0", b"line-1"]


def test_closing_commits_the_remaining_lines(any_writer: Writer, store: FakeStore) -> None:
    """It may be repeated, and later lines are committed at once."""
    append(any_writer, b"line-0")

    assert any_writer.close()
    assert any_writer.close()
    append(any_writer, b"line-1")

    assert store.lines == numbered_lines(2)


def test_closing_says_if_lines_remain(any_writer: Writer, store: FakeStore) -> None:
    """A journal that is down at the end is tried only once more."""
    store.error = JournalError("gone")
    append(any_writer, b"line-0")

    assert not any_writer.close()


def test_many_threads_lose_nothing_and_keep_their_order(
    any_writer: Writer, store: FakeStore
) -> None:
    """The lines of each thread are in its order, while others flush."""

    def put(number: int) -> None:
        for place in range(300):
            line = b"line-%d-%03d" % (number, place)
            if place % 50 == 7:
                assert append_and_wait(any_writer, line)
            else:
                append(any_writer, line)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        assert any_writer.flush()
    for thread in threads:
        thread.join()

    assert any_writer.flush()
    assert len(store.lines) == 1800
    for number in range(6):
        own = [line for line in store.lines if line.startswith(b"line-%d-" % number)]
        assert own == sorted(own)
