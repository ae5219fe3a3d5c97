"""With a spool, lines are durable at once, and committed by the writer's thread."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from queue import SimpleQueue

import pytest

from eventflow.errors import JournalError
from eventflow.journal import writer as writer_module
from eventflow.journal.spool import Spool
from eventflow.journal.writer import Writer
from tests.journal.fakes import FakeStore, FaultyDisk, StatusLog, hold_up
from tests.journal.writing import append, append_and_wait, numbered_lines, read_spool


def test_a_line_is_durable_at_once(writer: Writer, store: FakeStore, spool_folder: Path) -> None:
    """It is in the spool before the journal has it, and no publisher has waited for a commit."""
    begun, release = hold_up(store)

    assert append_and_wait(writer, b"line-0")
    assert begun.wait(60)
    assert append_and_wait(writer, b"line-1")
    append(writer, b"line-2")
    assert not writer.waits
    assert writer.wait()

    assert read_spool(spool_folder) == numbered_lines(3)
    assert store.groups == []
    release.set()
    store.wait_for(*numbered_lines(3))
    assert set(store.committers) == {"eventflow-journal"}


def test_the_spool_is_empty_when_all_lines_are_committed(
    writer: Writer, store: FakeStore, spool_folder: Path
) -> None:
    """Nothing has to be recovered, and no file is left."""
    for line in numbered_lines(1000):
        append(writer, line)

    assert writer.flush()

    assert store.lines == numbered_lines(1000)
    assert list(spool_folder.iterdir()) == []


def test_groups_are_large(writer: Writer, store: FakeStore) -> None:
    """Lines that come during a commit are one group, up to 10,000 lines."""
    begun, release = hold_up(store)
    append_and_wait(writer, b"line-0")
    assert begun.wait(60)
    for line in numbered_lines(12_000, 1):
        append(writer, line)
    release.set()

    assert writer.flush()

    assert [len(group) for group in store.groups] == [1, 10_000, 2_000]


def test_the_thread_sleeps_while_there_is_no_line(
    store: FakeStore, status_log: StatusLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits without a timeout, and is woken by the next line."""
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
    append(writer, b"line-0")
    assert asleep.wait(60)

    assert waits[0] is None
    assert waits[-1] is None
    append(writer, b"line-1")
    store.wait_for(b"line-1")
    writer.close()


def test_lines_stay_in_the_spool_while_the_journal_fails(
    writer: Writer, store: FakeStore, status_log: StatusLog, spool_folder: Path
) -> None:
    """They are as durable as before, and committed in their order when it works again."""
    store.error = JournalError("locked")
    append(writer, b"line-0")
    assert status_log.failed.wait(60)

    assert all(append_and_wait(writer, line) for line in numbered_lines(50, 1))
    assert not writer.flush()
    assert writer.down
    assert writer.kept == 0
    assert read_spool(spool_folder) == numbered_lines(51)
    store.error = None

    assert status_log.recovered.wait(60)
    assert [str(error) for error, _ in status_log.calls] == ["locked", "None"]
    assert writer.flush()
    assert store.lines == numbered_lines(51)
    assert not writer.down


def test_any_error_of_the_journal_is_reported(
    writer: Writer, store: FakeStore, status_log: StatusLog
) -> None:
    """A bug in the journal keeps lines waiting, and does not end the thread."""
    store.error = ZeroDivisionError("mistake")
    append(writer, b"line-0")
    assert status_log.failed.wait(60)
    store.error = None

    store.wait_for(b"line-0")
    assert "ZeroDivisionError" in str(status_log.calls[0][0])


def test_a_full_disk_is_reported_once_and_lines_wait_in_memory(
    writer: Writer, store: FakeStore, status_log: StatusLog, disk: FaultyDisk, spool_folder: Path
) -> None:
    """With the journal on the same disk nothing is durable; all is there when there is room."""
    assert append_and_wait(writer, b"line-0")
    assert writer.flush()
    disk.fault = "full"
    store.error = JournalError("disk full")

    assert not any(append_and_wait(writer, line) for line in numbered_lines(10, 1))
    assert writer.down
    assert len(status_log.calls) == 1
    assert writer.kept == 10
    assert writer.waits
    disk.fault = ""

    # The journal still fails, but the lines are durable again.
    assert not writer.flush()
    assert read_spool(spool_folder) == numbered_lines(10, 1)
    assert append_and_wait(writer, b"line-11")
    store.error = None
    assert status_log.recovered.wait(60)
    assert writer.flush()
    assert store.distinct_lines == numbered_lines(12)
    assert [error is None for error, _ in status_log.calls] == [False, True]


def test_a_line_that_gets_from_memory_into_the_spool_is_durable(
    writer: Writer, store: FakeStore, disk: FaultyDisk, spool_folder: Path
) -> None:
    """Whatever the journal says: nothing else is needed."""
    disk.fault = "full"
    writer.append(b"line-0")
    disk.fault = ""
    store.error = JournalError("locked")

    assert append_and_wait(writer, b"line-1")
    assert read_spool(spool_folder) == numbered_lines(2)


@pytest.mark.parametrize("fault", ["full", "short"])
def test_while_the_spool_fails_the_publisher_commits(
    writer: Writer, store: FakeStore, status_log: StatusLog, disk: FaultyDisk, fault: str
) -> None:
    """That makes lines slower, not less durable, and is reported once."""
    disk.fault = fault

    assert all(append_and_wait(writer, line) for line in numbered_lines(5))

    assert store.lines == numbered_lines(5)
    assert set(store.committers) == {threading.current_thread().name}
    assert [error is None for error, _ in status_log.calls] == [False]
    assert writer.down
    disk.fault = ""
    assert append_and_wait(writer, b"line-5")
    assert status_log.recovered.wait(60)
    assert not writer.down


def test_the_backlog_does_not_overtake_the_spool(
    writer: Writer, store: FakeStore, disk: FaultyDisk
) -> None:
    """Even if the disk becomes full during a commit."""
    begun, release = hold_up(store)
    append(writer, b"line-0")
    assert begun.wait(60)
    assert append_and_wait(writer, b"line-1")
    disk.fault = "full"
    append(writer, b"line-2")
    release.set()

    assert writer.flush()
    assert store.lines == numbered_lines(3)


def test_a_deleted_folder_loses_no_line(
    writer: Writer, store: FakeStore, status_log: StatusLog, spool_folder: Path
) -> None:
    """The next lines go to the journal; when the folder is back, to the spool again."""
    store.error = JournalError("locked")
    assert append_and_wait(writer, b"line-0")
    shutil.rmtree(spool_folder)
    assert append_and_wait(writer, b"line-1")
    assert not writer.flush()
    assert not append_and_wait(writer, b"line-2")
    store.error = None

    assert writer.flush()
    assert append_and_wait(writer, b"line-3")
    assert store.lines == numbered_lines(4)
    spool_folder.mkdir()
    assert append_and_wait(writer, b"line-4")
    assert status_log.recovered.wait(60)


def test_a_full_spool_gives_way_to_the_backlog_and_that_to_loss(
    store: FakeStore, status_log: StatusLog, spool_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The newest lines are lost, and that is counted and logged."""
    writer = Writer(store, status_log, spool=Spool(spool_folder, limit=14), capacity=12)
    store.error = JournalError("gone")
    for line in numbered_lines(6):
        append_and_wait(writer, line)
    writer.flush()
    store.error = None

    assert status_log.recovered.wait(60)
    assert status_log.calls[-1] == (None, 2)
    assert "2 are lost" in caplog.text
    assert writer.flush()
    assert store.distinct_lines == numbered_lines(4)
    append_and_wait(writer, b"line-6")
    assert writer.close()
    assert store.distinct_lines == [*numbered_lines(4), b"line-6"]


def test_an_interrupt_within_an_append_loses_nothing(
    writer: Writer, store: FakeStore, disk: FaultyDisk
) -> None:
    """Neither the line nor others; the line may come twice."""
    append_and_wait(writer, b"line-0")
    disk.fault = "interrupted"
    with pytest.raises(KeyboardInterrupt):
        append_and_wait(writer, b"line-1")
    disk.fault = ""

    append_and_wait(writer, b"line-2")

    assert writer.flush()
    assert store.distinct_lines == numbered_lines(3)


def test_a_handler_that_interrupts_an_append_does_not_wait_for_itself(
    writer: Writer, store: FakeStore, disk: FaultyDisk, spool_folder: Path
) -> None:
    """Its lines are durable, and every other method returns as well."""
    returned: list[bool] = []

    def handler() -> None:
        disk.on_write = lambda: None
        returned.append(append_and_wait(writer, b"line-1"))
        returned.append(writer.flush())
        returned.append(writer.close())
        assert b"line-1" in read_spool(spool_folder)
        release.set()

    begun, release = hold_up(store)
    append(writer, b"line-0")
    # The thread is within a commit, and will need the lock that the handler's thread holds.
    assert begun.wait(60)
    disk.on_write = handler
    append(writer, b"line-2")

    assert returned == [True, False, False]
    assert writer.flush()
    assert sorted(store.distinct_lines) == numbered_lines(3)


def test_where_the_spool_is_not_enough_a_commit_is_awaited(
    store: FakeStore, status_log: StatusLog, spool_folder: Path
) -> None:
    """The publisher commits; what it cannot commit is in the spool, and it goes on."""
    writer = Writer(store, status_log, spool=Spool(spool_folder), trusts_spool=False)
    assert writer.waits
    assert writer.append(b"line-0")
    assert writer.wait()
    assert store.lines == [b"line-0"]
    assert store.committers == [threading.current_thread().name]
    assert read_spool(spool_folder) == []

    store.error = JournalError("gone")
    writer.append(b"line-1")
    assert not writer.wait()
    writer.append(b"line-2")
    assert not writer.wait()
    assert read_spool(spool_folder) == [b"line-1", b"line-2"]
    assert writer.kept == 0
    store.error = None

    assert status_log.recovered.wait(60)
    assert writer.close()
    assert store.distinct_lines == numbered_lines(3)


@pytest.mark.parametrize("spooled", [True, False])
def test_a_closed_writer_hurries_if_no_line_would_be_lost(
    store: FakeStore, status_log: StatusLog, spool_folder: Path, spooled: bool
) -> None:
    """What is in memory only is worth waiting for."""
    writer = Writer(store, status_log, spool=Spool(spool_folder) if spooled else None)
    writer.append(b"line-0")
    hurried: list[bool] = []
    store.on_commit = lambda: hurried.append(store.in_hurry)

    assert writer.close()

    assert hurried[-1:] == [spooled]
