"""With a spool a record is durable at once, whatever happens to the journal and to the disk."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from eventflow.errors import JournalError
from eventflow.journal.wal.spool import Spool, described
from eventflow.journal.wal.writer import Writer
from tests.journal.fakes import FakeStore, FaultyDisk, StatusLog, hold_up
from tests.journal.writing import HEADING, append, append_and_wait, on_disk, owing, record


@pytest.fixture(params=["writer", "written"])
def spooled(request: pytest.FixtureRequest) -> Writer:
    """Make a writer with files, mapped and written."""
    made: Writer = request.getfixturevalue(request.param)
    return made


def test_a_record_is_durable_at_once(spooled: Writer, store: FakeStore, spool_folder: Path) -> None:
    """It is in a file before the journal has it, and no publisher has waited for a commit."""
    begun, release = hold_up(store)

    assert append_and_wait(spooled, 0)
    assert begun.wait(60)
    assert append_and_wait(spooled, 1)
    append(spooled, 2)
    assert not spooled.waits
    assert spooled.wait()

    assert on_disk(spool_folder) == [0, 1, 2]
    assert store.groups == []
    release.set()
    store.wait_for(0, 1, 2)
    assert set(store.committers) == {"eventflow-journal"}


def test_no_file_is_made_before_the_first_record(spooled: Writer, spool_folder: Path) -> None:
    """An owner that dies without one has left nothing to recover; then its name comes first."""
    assert spooled.flush()
    assert list(spool_folder.iterdir()) == []

    spooled.append(record(0))
    assert described(spool_folder) == "the owner"
    assert on_disk(spool_folder) == [0]


def test_committed_records_leave_nothing_to_recover(
    store: FakeStore, status_log: StatusLog, spool_folder: Path
) -> None:
    """However many there are, the files are few, and at the end there is none."""
    writer = Writer(store, status_log, spool=Spool(spool_folder, segment_bytes=4096))
    for number in range(3000):
        append(writer, number)
        if number % 20 == 0:
            assert writer.flush()
            assert len(list(spool_folder.iterdir())) <= 3
    assert writer.flush()

    assert store.numbers == list(range(3000))
    assert on_disk(spool_folder) == []
    assert writer.close()
    assert list(spool_folder.iterdir()) == []


def test_records_stay_in_files_while_the_journal_fails(
    spooled: Writer, store: FakeStore, status_log: StatusLog, spool_folder: Path
) -> None:
    """They are as durable as before, and committed in their order when it works again."""
    store.error = JournalError("locked")
    append(spooled, 0)
    assert status_log.failed.wait(60)

    assert all(append_and_wait(spooled, number) for number in range(1, 51))
    assert not spooled.flush()
    assert spooled.down
    assert spooled.kept == 0
    assert on_disk(spool_folder) == list(range(51))
    store.error = None

    assert status_log.recovered.wait(60)
    assert [str(error) for error, _ in status_log.calls] == ["locked", "None"]
    assert spooled.flush()
    assert store.numbers == list(range(51))
    assert not spooled.down


def test_a_full_disk_is_reported_once_and_records_wait_in_memory(
    spooled: Writer, store: FakeStore, status_log: StatusLog, disk: FaultyDisk, spool_folder: Path
) -> None:
    """With the journal on the same disk nothing is durable; all is there when there is room."""
    disk.full = True
    store.error = JournalError("disk full")

    assert not any(append_and_wait(spooled, number) for number in range(10))
    assert spooled.down
    assert len(status_log.calls) == 1
    assert spooled.kept == 11, "with the heading"
    assert spooled.waits
    disk.full = False

    # The journal still fails, but the records are durable again.
    assert not spooled.flush()
    assert on_disk(spool_folder) == list(range(10))
    assert append_and_wait(spooled, 10)
    store.error = None
    assert status_log.recovered.wait(60)
    assert spooled.flush()
    assert store.numbers == list(range(11))
    assert [error is None for error, _ in status_log.calls] == [False, True]


def test_while_there_is_no_room_the_publisher_commits(
    spooled: Writer, store: FakeStore, status_log: StatusLog, disk: FaultyDisk
) -> None:
    """That makes records slower, not less durable, and is reported once."""
    disk.full = True

    assert all(append_and_wait(spooled, number) for number in range(5))

    assert store.numbers == list(range(5))
    assert set(store.committers) == {threading.current_thread().name}
    assert [error is None for error, _ in status_log.calls] == [False]
    assert spooled.down
    disk.full = False
    for number in range(5, 9):
        assert append_and_wait(spooled, number)
    assert spooled.flush()
    assert spooled.kept == 0


def test_what_is_in_memory_does_not_overtake_what_is_in_files(
    spooled: Writer, store: FakeStore, disk: FaultyDisk
) -> None:
    """Even if the disk becomes full during a commit."""
    begun, release = hold_up(store)
    append(spooled, 0)
    assert begun.wait(60)
    assert append_and_wait(spooled, 1)
    disk.full = True
    append(spooled, 2)
    release.set()

    assert spooled.flush()
    assert store.numbers == [0, 1, 2]


def test_an_acknowledgement_in_memory_gets_to_the_file(
    writer: Writer, store: FakeStore, disk: FaultyDisk, spool_folder: Path
) -> None:
    """Whether it comes before its record is saved there, or after."""
    disk.full, store.error = True, JournalError("gone")
    places = [writer.append(owing(number, 2), owed=True) for number in range(2)]
    assert writer.acknowledge(*places[0], 1, 1, 7)
    disk.full = False
    assert not writer.flush()
    writer.acknowledge(*places[1], 2, 2, 7)

    (path,) = spool_folder.iterdir()
    data = path.read_bytes()
    assert [data[offset + 13 : offset + 16] for _, offset in places] == [b"\2\1\1", b"\2\2\2"]


def test_a_deleted_folder_loses_no_record(
    spooled: Writer, store: FakeStore, status_log: StatusLog, spool_folder: Path
) -> None:
    """The next ones go to the journal; when the folder is back, to files again."""
    store.error = JournalError("locked")
    assert append_and_wait(spooled, 0)
    shutil.rmtree(spool_folder)
    assert not spooled.flush()
    store.error = None
    assert spooled.flush()
    assert append_and_wait(spooled, 1)
    assert spooled.flush()

    assert store.numbers == [0, 1]
    assert spooled.down
    spool_folder.mkdir()
    assert append_and_wait(spooled, 2)
    assert spooled.flush()
    append(spooled, 3)
    assert store.numbers[:3] == [0, 1, 2]
    assert status_log.recovered.wait(60)


def test_after_a_deleted_file_a_new_one_is_begun(
    spooled: Writer, store: FakeStore, spool_folder: Path
) -> None:
    """At the next commit; what comes later can be found by others."""
    append_and_wait(spooled, 0)
    for path in spool_folder.iterdir():
        path.unlink()
    assert spooled.flush()
    store.error = JournalError("locked")
    append_and_wait(spooled, 1)

    assert on_disk(spool_folder) == [1]
    assert store.numbers == [0]


def test_a_truncated_file_costs_its_records_and_not_the_process(
    writer: Writer, store: FakeStore, spool_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If somebody truncates it: that is counted, logged and noticed at the next commit."""
    place = writer.append(owing(0), owed=True)
    (path,) = spool_folder.iterdir()
    with path.open("r+b") as file:
        file.truncate(0)

    assert not writer.flush()
    assert "truncated" in caplog.text
    assert writer.lost == 2, "with the heading"
    assert writer.acknowledge(*place, 1, 1, 1)
    append_and_wait(writer, 1)
    assert writer.flush()
    assert store.numbers == [1]


def test_a_full_spool_gives_way_to_memory_and_that_to_loss(
    store: FakeStore, status_log: StatusLog, spool_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The newest records are lost, and that is counted and logged."""
    spool = Spool(spool_folder, limit=1024, segment_bytes=1024)
    writer = Writer(store, status_log, spool=spool, capacity=700)
    store.error = JournalError("gone")
    for number in range(20):
        writer.append(owing(number, 0))
    assert not writer.flush()
    lost = writer.lost
    assert 0 < lost < 12
    store.error = None

    assert status_log.recovered.wait(60)
    assert status_log.calls[-1] == (None, lost)
    assert f"{lost} are lost" in caplog.text
    assert writer.flush()
    assert store.numbers == list(range(20 - lost))
    append_and_wait(writer, 20)
    assert writer.close()
    assert store.numbers == [*range(20 - lost), 20]


@pytest.mark.parametrize("with_spool", [True, False])
def test_a_closed_writer_hurries_if_no_record_would_be_lost(
    store: FakeStore, status_log: StatusLog, spool_folder: Path, with_spool: bool
) -> None:
    """What is in memory only is worth waiting for."""
    spool = Spool(spool_folder) if with_spool else None
    writer = Writer(store, status_log, spool=spool, heading=HEADING)
    writer.append(record(0))
    hurried: list[bool] = []
    store.on_commit = lambda: hurried.append(store.in_hurry)

    assert writer.close()

    assert hurried[-1:] == [with_spool]
