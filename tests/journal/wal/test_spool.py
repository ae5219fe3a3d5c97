"""Which files the spool makes, uses again and deletes, whatever the disk and the folder do."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from mmap import mmap
from pathlib import Path

import pytest

from eventflow.journal.wal import spool as module
from eventflow.journal.wal.segments import HEAD, Segment
from eventflow.journal.wal.spool import SEGMENT_BYTES, Spool, has_records
from tests.journal.fakes import FaultyDisk
from tests.journal.writing import on_disk, record


@pytest.fixture
def spool(spool_folder: Path) -> Iterator[Spool]:
    made = Spool(spool_folder)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def say_again() -> None:
    """Forget that it was said why files are written."""
    module._log_writing.cache_clear()


def put(segment: Segment, *numbers: int) -> None:
    """Append records to a segment, as the appender does."""
    for number in numbers:
        data = record(number)
        segment.data[segment.end : segment.end + len(data)] = data
        segment.end += len(data)
        segment.runs += 1
    if not segment.mapped:
        segment.store()


def commit(segment: Segment) -> None:
    """Have all records committed, and then cleared."""
    segment.take(everything=True)
    segment.advance()
    if segment.mapped:
        segment.clear()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_segment_is_a_file_whose_space_is_reserved(spool: Spool, spool_folder: Path) -> None:
    """All of its blocks are there from the beginning; only this user can read it."""
    segment = spool.take(10)

    assert isinstance(segment.data, mmap)
    status = (spool_folder / "segment-1").stat()
    assert status.st_size == SEGMENT_BYTES
    assert status.st_blocks * 512 >= SEGMENT_BYTES
    assert status.st_mode & 0o777 == 0o600
    assert not has_records(spool_folder)


@pytest.mark.parametrize("mapped", [True, False])
def test_another_process_reads_a_record_at_once(
    spool: Spool, spool_folder: Path, mapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is flushed or closed; what was acknowledged is there too."""
    if not mapped:
        monkeypatch.setattr(module, "MAPPABLE", frozenset())
    segment = spool.take(10)
    assert segment.mapped is mapped
    put(segment, 0, 1)

    assert on_disk(spool_folder) == [0, 1]
    assert has_records(spool_folder)
    segment.data[HEAD + 13 : HEAD + 24] = b"acknowledge"
    segment.store_acknowledgement(HEAD)
    assert (spool_folder / "segment-1").read_bytes()[HEAD + 13 : HEAD + 24] == b"acknowledge"
    commit(segment)
    assert not has_records(spool_folder)


def test_a_committed_segment_is_used_again(spool: Spool, spool_folder: Path) -> None:
    """The same blocks, with the next number and without records; a second one is deleted."""
    first, second, third = (spool.take(10) for _ in range(3))
    for segment in (first, second, third):
        put(segment, 0, 1, 2)
        commit(segment)
    inode = (spool_folder / "segment-1").stat().st_ino
    spool.give_back(first)
    spool.give_back(second)

    assert names(spool_folder) == ["segment-3", "segment-4"]
    assert not (spool_folder / "segment-4").read_bytes()[HEAD:].strip(b"\0")
    again = spool.take(10)
    assert again is first
    assert (spool_folder / "segment-4").stat().st_ino == inode
    put(again, 3)
    assert on_disk(spool_folder) == [3]
    spool.give_back(third)
    spool.close()
    assert names(spool_folder) == ["segment-4"]


def test_what_is_kept_is_not_given_to_what_is_larger(spool: Spool, spool_folder: Path) -> None:
    """A larger record gets a segment of its own size, which is deleted afterwards."""
    first = spool.take(10)
    spool.give_back(first)
    large = spool.take(SEGMENT_BYTES)

    assert names(spool_folder) == ["segment-3"]
    assert len(large.data) == SEGMENT_BYTES + HEAD
    spool.give_back(large)
    assert names(spool_folder) == []


def test_files_that_exist_are_left_alone(spool: Spool, spool_folder: Path) -> None:
    """New numbers are higher; other files do not belong to the spool."""
    for name in ("segment-9", "segment-x", "lock"):
        (spool_folder / name).write_bytes(b"theirs")
    segment = spool.take(10)
    (spool_folder / "segment-11").write_bytes(b"theirs")
    assert spool.take(10).number == 12
    commit(segment)
    spool.give_back(segment, keep=False)

    assert names(spool_folder) == ["lock", "segment-11", "segment-12", "segment-9", "segment-x"]


def test_files_are_limited_in_size(spool_folder: Path) -> None:
    """Beyond the limit no segment is given, until one is given back."""
    spool = Spool(spool_folder, limit=3000, segment_bytes=1024)
    first, _ = spool.take(10), spool.take(10)
    with pytest.raises(OSError, match="2048 bytes wait"):
        spool.take(10)
    spool.give_back(first)
    assert spool.take(10) is first


def test_a_full_disk_leaves_nothing_behind(
    spool: Spool, spool_folder: Path, disk: FaultyDisk
) -> None:
    """It is known when a segment is taken, each time; what is kept can be used all the same."""
    first = spool.take(10)
    disk.full = True
    for _ in range(3):
        with pytest.raises(OSError, match="No space"):
            spool.take(10)
    assert names(spool_folder) == ["segment-1"]
    spool.give_back(first)
    put(spool.take(10), 0)
    assert on_disk(spool_folder) == [0]
    disk.full = False
    assert spool.take(10).mapped


@pytest.mark.parametrize("fault", ["no fallocate", "refused", "no mmap", "network", "unknown"])
def test_where_files_cannot_be_mapped_they_are_written(
    spool: Spool,
    spool_folder: Path,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In the same format; that is said once."""
    caplog.set_level("DEBUG", "eventflow")

    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    match fault:
        case "no fallocate":
            monkeypatch.delattr(os, "posix_fallocate")
        case "refused":
            monkeypatch.setattr(os, "posix_fallocate", refuse)
        case "no mmap":
            monkeypatch.setattr(module, "mmap", refuse)
        case "network":
            monkeypatch.setattr(module, "_file_system", lambda folder: "nfs4")
        case "unknown":
            monkeypatch.setattr(module, "_file_system", lambda folder: "")
            monkeypatch.setattr(os, "major", lambda device: 0)
    first, second = spool.take(10), spool.take(10)
    put(first, 0, 1)
    put(second, 2)

    assert not first.mapped
    assert on_disk(spool_folder) == [0, 1, 2]
    assert caplog.text.count("written instead of mapped") == 1
    commit(first)
    assert on_disk(spool_folder) == [2]
    spool.give_back(first)
    assert names(spool_folder) == ["segment-2"]


def test_what_the_system_does_not_name_is_mapped_on_a_device(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process in a root of its own is not told where that is mounted."""
    monkeypatch.setattr(module, "_file_system", lambda folder: "")
    monkeypatch.setattr(os, "major", lambda device: 8)
    assert spool.take(10).mapped


@pytest.mark.parametrize(
    ("mounts", "kind"),
    [
        (
            "1 1 0:1 / / rw - ext4 /dev/a rw\n2 1 0:2 / /mnt rw shared:1 - btrfs /dev/b rw\n",
            "btrfs",
        ),
        ("1 1 0:1 / / rw - xfs /dev/a rw\n2 1 0:2 / /mn rw - nfs4 host rw\n", "xfs"),
        ("1 1 0:1 / /mnt rw - ext4 /dev/a rw\n2 1 0:2 / /mnt rw - zfs pool rw\n", "zfs"),
        ("1 1 0:1 / / rw - ext4 a rw\n2 1 0:2 / /mnt/with\\040space rw - cifs host rw\n", "cifs"),
        ("nonsense\n", ""),
    ],
)
def test_the_file_system_of_a_folder(
    mounts: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is that of the innermost mount, and of the last one there."""
    monkeypatch.setattr(Path, "read_bytes", lambda self: mounts.encode())

    assert module._file_system(Path("/mnt/with space/owner")) == kind


def test_a_short_write_is_completed(
    spool: Spool, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another one; one that writes nothing is an error."""
    monkeypatch.setattr(module, "MAPPABLE", frozenset())
    segment, pwrite = spool.take(10), os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, bytes(data[:7]), at))
    put(segment, 0, 1)
    assert on_disk(spool_folder) == [0, 1]

    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: 0)
    with pytest.raises(OSError, match="Nothing more"):
        put(segment, 2)


def test_memory_is_saved_to_a_file_when_there_is_room(
    spool: Spool, spool_folder: Path, disk: FaultyDisk
) -> None:
    """With a number above all others; until then it is tried again, with one file at most."""
    spool.give_back(spool.take(10))
    memory = Segment(1, bytearray(2048))
    put_in_memory = (0, 1, 2)
    memory.fd = -1
    for number in put_in_memory:
        data = record(number)
        memory.data[memory.end : memory.end + len(data)] = data
        memory.end += len(data)
        memory.runs += 1
    assert memory.kept == 3
    disk.full = True
    for _ in range(3):
        with pytest.raises(OSError, match="No space"):
            spool.save(memory)
    assert len(names(spool_folder)) == 1
    disk.full = False
    spool.save(memory)

    assert memory.kept == 0
    assert on_disk(spool_folder) == [0, 1, 2]
    assert spool.take(10).number > memory.number


def test_a_deleted_file_still_holds_its_records(spool: Spool, spool_folder: Path) -> None:
    """Nothing is lost while the process lives; it is known that others cannot find it."""
    segment = spool.take(10)
    put(segment, 0)
    assert segment.links_and_size()[0]
    shutil.rmtree(spool_folder)
    put(segment, 1)

    assert not segment.links_and_size()[0]
    group = segment.take(everything=True)
    assert group is not None
    assert group.runs == 2
    segment.advance()
    spool.give_back(segment)
    with pytest.raises(FileNotFoundError):
        spool.take(10)
    spool_folder.mkdir()
    assert spool.take(10).links_and_size()[0]


def test_a_file_that_cannot_be_deleted_has_nothing_to_commit(
    spool: Spool, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its head says so, and its size stays as it is."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EROFS, "Read-only")

    segment = spool.take(10)
    put(segment, 0)
    commit(segment)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        patch.setattr(os, "rename", refuse)
        spool.give_back(segment)

    assert [path.stat().st_size for path in spool_folder.iterdir()] == [SEGMENT_BYTES]
    assert not has_records(spool_folder)


def test_no_file_is_ever_truncated(
    spool: Spool, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even one that is used again: to touch what is missing would end the process."""

    def refuse(*_: object) -> None:
        raise AssertionError

    for name in ("ftruncate", "truncate"):
        monkeypatch.setattr(os, name, refuse)
    flags: list[int] = []
    opened = os.open

    def note(path: str, how: int, *mode: int) -> int:
        flags.append(how)
        return opened(path, how, *mode)

    monkeypatch.setattr(os, "open", note)
    for number in range(5):
        segment = spool.take(10)
        put(segment, number)
        commit(segment)
        spool.give_back(segment)
    assert flags
    assert not any(how & os.O_TRUNC for how in flags)
