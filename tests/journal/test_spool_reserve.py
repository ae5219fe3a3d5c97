"""On a full disk, the lines that matter go to the part of it that was reserved."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from eventflow.errors import JournalError
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal import spool as spool_module
from eventflow.journal.format import owner_line
from eventflow.journal.spool import RESERVE, RESERVE_BYTES, Spool
from eventflow.journal.writer import Writer
from eventflow.states import StateType
from tests.journal.fakes import FakeStore, FaultyDisk, StatusLog
from tests.journal.rows import a_delivery, a_run, entering, later, settled, settling
from tests.journal.writing import numbered_lines, read_spool

PENDING = a_run()
RUNNING = later(PENDING, StateType.RUNNING)
RETRYING = later(RUNNING, StateType.RUNNING)
COMPLETED = later(RETRYING, StateType.COMPLETED, ends=True)
OWED = a_delivery(RETRYING)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> FaultyDisk:
    """Have every write that needs space fail."""
    disk = FaultyDisk()

    def write(fd: int, data: bytes) -> int:
        if disk.fault == "full":
            data = b"line" + data
        return disk.write(fd, data)

    monkeypatch.setattr(os, "write", write)
    disk.fault = "full"

    return disk


@pytest.fixture
def reserving(spool_folder: Path) -> Spool:
    spool = Spool(spool_folder)
    spool.reserve()
    return spool


@pytest.fixture
def writer(store: FakeStore, status_log: StatusLog, reserving: Spool) -> Writer:
    """Make a writer whose journal is away, and whose spool has a reserve."""
    store.error = JournalError("gone")
    return Writer(store, status_log, spool=reserving)


def test_space_is_reserved(reserving: Spool, spool_folder: Path) -> None:
    """As blocks of the disk, for this user only; nobody takes it for lines."""
    status = (spool_folder / RESERVE).stat()

    assert status.st_size == RESERVE_BYTES
    assert status.st_blocks * 512 >= RESERVE_BYTES
    assert status.st_mode & 0o777 == 0o600
    assert read_spool(spool_folder) == []
    reserving.close()


@pytest.mark.usefixtures("full_disk")
def test_what_matters_survives_the_process_on_a_full_disk(
    writer: Writer, spool_folder: Path, status_log: StatusLog
) -> None:
    """Beginning and end of a run, what is owed, and outcomes; the rest waits in memory."""
    what_matters = [
        owner_line("{}"),
        entering(PENDING),
        entering(RETRYING, OWED),
        settling(settled(OWED, DeliveryStatus.RUNNING)),
        entering(COMPLETED),
    ]
    assert [writer.append(line) for line in what_matters[:2]] == [True, True]
    assert not writer.append(entering(RUNNING))
    assert [writer.append(line) for line in what_matters[2:]] == [True, True, True]
    assert not writer.flush()

    assert read_spool(spool_folder) == what_matters
    assert writer.kept == 1
    assert status_log.failed.is_set()


def test_all_is_committed_when_there_is_room_again(
    writer: Writer, store: FakeStore, spool_folder: Path, full_disk: FaultyDisk
) -> None:
    """And the reserve is there once more."""
    writer.append(entering(PENDING))
    writer.append(entering(RUNNING))
    writer.append(entering(COMPLETED))
    store.error, full_disk.fault = None, ""
    assert writer.flush()
    last = entering(a_run())
    assert writer.append(last)
    assert writer.close()

    assert sorted(store.distinct_lines) == sorted(
        [entering(PENDING), entering(RUNNING), entering(COMPLETED), last]
    )
    assert [path.name for path in spool_folder.iterdir()] == [RESERVE]


def test_nothing_that_matters_is_overtaken(
    writer: Writer,
    store: FakeStore,
    spool_folder: Path,
    full_disk: FaultyDisk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not even when the reserve is used up by a long line, and a short one had room."""
    monkeypatch.setattr(spool_module, "RESERVE_BYTES", 20)
    lines = [b"line-0", b"line-1-is-too-long", b"line-2", b"line-3"]

    assert [writer.append(line) for line in lines] == [True, False, False, False]
    assert read_spool(spool_folder) == [b"line-0"]
    store.error, full_disk.fault = None, ""
    assert writer.close()
    assert store.distinct_lines == lines


@pytest.mark.usefixtures("full_disk")
def test_a_line_that_comes_during_the_commit_of_the_reserve_is_committed(
    writer: Writer, store: FakeStore, spool_folder: Path
) -> None:
    """The file is deleted only when nothing follows any more."""
    store.error = None
    others = iter(numbered_lines(3, 1))

    def append_another() -> None:
        line = next(others, None)
        if line is not None:
            thread = threading.Thread(target=writer.append, args=[line])
            thread.start()
            thread.join()

    store.on_commit = append_another
    assert writer.append(b"line-0")
    assert writer.flush()

    assert store.distinct_lines == numbered_lines(4)
    assert list(spool_folder.glob("spool-*")) == []
    writer.close()


@pytest.mark.usefixtures("full_disk")
def test_without_room_for_a_reserve_lines_wait_in_memory(
    store: FakeStore, status_log: StatusLog, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that begins on a full disk fails no run."""

    def refuse(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    spool = Spool(spool_folder)
    spool.reserve()
    writer = Writer(store, status_log, spool=spool)

    assert not writer.append(b"line-0")
    assert writer.kept == 1
    assert writer.close()
    assert store.lines == [b"line-0"]


def test_a_deleted_reserve_is_not_written_to(
    writer: Writer, spool_folder: Path, full_disk: FaultyDisk
) -> None:
    """Nobody would find the line there."""
    (spool_folder / RESERVE).unlink()

    assert not writer.append(b"line-0")

    assert writer.kept == 1
    assert full_disk.fault == "full"
