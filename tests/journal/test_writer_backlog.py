"""Without a spool, lines wait in memory, and publishers commit what must be durable."""

from __future__ import annotations

import threading

from eventflow.errors import JournalError
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.stores.memory import MemoryJournal
from eventflow.journal.writer import Writer
from tests.journal.fakes import FakeStore, StatusLog, hold_up
from tests.journal.rows import a_delivery, a_run, entering, settled
from tests.journal.writing import append, append_and_wait, numbered_lines


def test_a_publisher_that_waits_commits_itself(unspooled: Writer, store: FakeStore) -> None:
    """Its line is durable on return, with all earlier ones, and no other thread was needed."""
    unspooled.append(b"line-0")

    assert append_and_wait(unspooled, b"line-1")

    assert store.groups == [numbered_lines(2)]
    assert store.committers == [threading.current_thread().name]


def test_other_lines_are_committed_soon(unspooled: Writer, store: FakeStore) -> None:
    """A background thread does it."""
    append(unspooled, b"line-0")

    store.wait_for(b"line-0")
    assert store.committers == ["eventflow-journal"]


def test_publishers_share_a_commit(unspooled: Writer, store: FakeStore) -> None:
    """Lines that come during a commit are committed together by the next one."""
    begun, release = hold_up(store)
    durable: list[bool] = []
    threads = [
        threading.Thread(target=lambda line=line: durable.append(append_and_wait(unspooled, line)))
        for line in numbered_lines(9)
    ]
    threads[0].start()
    assert begun.wait(60)
    for thread in threads[1:]:
        thread.start()
    while unspooled.kept < 9:
        pass
    release.set()
    for thread in threads:
        thread.join()

    assert durable == [True] * 9
    assert [len(group) for group in store.groups] == [1, 8]


def test_a_publisher_does_not_wait_for_later_lines(unspooled: Writer, store: FakeStore) -> None:
    """One that publishes all the time does not delay those whose lines are committed."""
    begun, release = hold_up(store)
    stop, served = threading.Event(), threading.Semaphore(0)

    def hold() -> None:
        # All commits after the one for the waiting publishers.
        assert len(store.groups) < 2 or stop.wait(60)

    def publish_on() -> None:
        append_and_wait(unspooled, b"first")
        store.on_commit = hold
        while not stop.is_set():
            append_and_wait(unspooled, b"more")

    def publish_once() -> None:
        append_and_wait(unspooled, b"one")
        served.release()

    busy = threading.Thread(target=publish_on)
    waiting = [threading.Thread(target=publish_once) for _ in range(8)]
    busy.start()
    assert begun.wait(60)
    for thread in waiting:
        thread.start()
    while unspooled.kept < 9:
        pass
    release.set()
    try:
        assert all(served.acquire(timeout=60) for _ in waiting)
    finally:
        stop.set()
        for thread in (busy, *waiting):
            thread.join()


def test_publishers_do_not_retry_a_failed_journal(unspooled: Writer, store: FakeStore) -> None:
    """Those that waited behind the one that saw the error return at once."""
    begun, release = hold_up(store)
    store.error = JournalError("locked for long")
    durable: list[bool] = []
    threads = [
        threading.Thread(target=lambda line=line: durable.append(append_and_wait(unspooled, line)))
        for line in numbered_lines(5)
    ]
    threads[0].start()
    assert begun.wait(60)
    for thread in threads[1:]:
        thread.start()
    while unspooled.kept < 5:
        pass
    release.set()
    for thread in threads:
        thread.join()

    assert durable == [False] * 5
    # The background thread tries again later, as it is meant to.
    assert [name for name in store.attempts if name != "eventflow-journal"] == [threads[0].name]


def test_failure_and_recovery_are_reported_once(
    unspooled: Writer, store: FakeStore, status_log: StatusLog
) -> None:
    """Lines are kept in their order, and committed by the thread when the journal works again."""
    store.error = JournalError("disk full")

    assert not any(append_and_wait(unspooled, line) for line in numbered_lines(5))
    assert not unspooled.wait()
    assert unspooled.down
    store.error = None

    assert status_log.recovered.wait(60)
    assert [str(error) for error, _ in status_log.calls] == ["disk full", "None"]
    assert store.lines == numbered_lines(5)
    assert append_and_wait(unspooled, b"line-5")


def test_the_backlog_is_limited_in_size(store: FakeStore, status_log: StatusLog) -> None:
    """The newest lines are lost, and their number is reported."""
    writer = Writer(store, status_log, capacity=18)
    store.error = JournalError("gone")
    for line in numbered_lines(5):
        append_and_wait(writer, line)
    store.error = None

    assert status_log.recovered.wait(60)
    assert status_log.calls[-1] == (None, 2)
    assert store.lines == numbered_lines(3)
    writer.close()


def test_without_waiting_the_thread_commits(store: FakeStore, status_log: StatusLog) -> None:
    """A publisher returns at once."""
    writer = Writer(store, status_log, waits=False)

    assert not append_and_wait(writer, b"line-0")

    store.wait_for(b"line-0")
    assert store.committers == ["eventflow-journal"]
    writer.close()


def test_within_a_hooks_transaction_lines_are_kept(status_log: StatusLog) -> None:
    """They are not durable yet, that is no failure, and they are committed afterwards."""
    journal = MemoryJournal()
    writer = Writer(journal, status_log)
    run, other = a_run(), a_run()
    delivery = a_delivery(run)
    journal.commit_lines([entering(run, delivery)])

    with journal.transaction(settled(delivery, DeliveryStatus.DELIVERED)):
        assert not append_and_wait(writer, entering(other))
        assert not writer.down

    assert writer.flush()
    assert journal.run(other.id) == other
    writer.close()
