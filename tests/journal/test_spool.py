"""What the spool keeps, whatever happens to the disk, the folder and the process."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventflow.journal.spool import CACHED_BYTES, GROUP_BYTES, Segment, Spool, segments
from tests.journal.writing import read_spool

ROOT = Path(__file__).parent.parent.parent
ANY = 2**63  # the number of a file that comes after all others


@pytest.fixture
def spool(spool_folder: Path) -> Iterator[Spool]:
    made = Spool(spool_folder)
    yield made
    made.close()


def append(spool: Spool, *lines: bytes) -> None:
    for line in lines:
        spool.append(line + b"\n")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def oldest(spool: Spool) -> Segment:
    segment = spool.oldest(ANY)
    assert segment is not None
    return segment


def take_all(spool: Spool) -> list[bytes]:
    """Read and delete all files, as a commit does."""
    lines: list[bytes] = []
    while (segment := spool.oldest(ANY)) is not None:
        lines += list(segment.lines())
        segment.drop()
        spool.remove(segment)
    return lines


def writing(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Callable[..., int], int, bytes], int]
) -> None:
    """Have `os.write` do something else with lines."""
    write = os.write

    def changed(fd: int, data: bytes) -> int:
        return change(write, fd, data) if data.startswith(b"line") else write(fd, data)

    monkeypatch.setattr(os, "write", changed)


def test_another_process_can_read_an_appended_line_at_once(
    spool: Spool, spool_folder: Path
) -> None:
    """Nothing is flushed or closed; only the user of the process can read the file."""
    append(spool, b"one", b"two")

    assert read_spool(spool_folder) == [b"one", b"two"]
    assert (spool_folder / "spool-1.jsonl").stat().st_mode & 0o777 == 0o600


def test_an_idle_owner_has_no_file(spool: Spool, spool_folder: Path) -> None:
    """None is created before the first line, and none stays after the last."""
    assert spool.oldest(ANY) is None
    assert names(spool_folder) == []

    append(spool, b"one")
    assert take_all(spool) == [b"one"]

    assert names(spool_folder) == []
    assert spool.size == 0


def test_a_file_that_is_read_is_not_appended_to(spool: Spool) -> None:
    """New lines go to another file, and files are read in their order."""
    append(spool, b"one")
    first = oldest(spool)
    append(spool, b"two")

    assert list(first.lines()) == [b"one"]
    assert spool.oldest(first.number) is first
    first.drop()
    spool.remove(first)
    assert spool.oldest(first.number) is None
    assert take_all(spool) == [b"two"]


def test_lines_are_returned_again_until_the_next_advance(spool: Spool) -> None:
    """A group that could not be committed is not lost, and a committed one is not repeated."""
    append(spool, b"one", b"two", b"three")
    segment = oldest(spool)

    assert segment.peek(2) == [b"one", b"two"]
    assert segment.peek(1) == [b"one"]
    segment.advance()
    assert segment.peek() == [b"two", b"three"]
    segment.advance()
    assert segment.peek() == []


def test_cached_lines_are_not_read_again(spool: Spool, spool_folder: Path) -> None:
    """The process that wrote them gets the same objects; others read them from the file."""
    lines = [b"one", b"two", b"three"]
    for line in lines:
        spool.append(line + b"\n", line)
    assert read_spool(spool_folder) == lines
    segment = oldest(spool)
    assert segment.peek(2)[1] is lines[1]
    segment.advance()
    assert segment.peek()[0] is lines[2]


@settings(deadline=None)  # it waits for the disk
@given(
    lines=st.lists(
        st.tuples(st.binary(max_size=9).filter(lambda line: b"\n" not in line), st.booleans())
    ),
    count=st.integers(1, 5),
)
def test_caching_makes_no_difference(lines: list[tuple[bytes, bool]], count: int) -> None:
    """Whichever lines are cached, each is returned once, and in order."""
    with tempfile.TemporaryDirectory() as name:
        spool = Spool(Path(name), segment_bytes=20)
        for line, cached in lines:
            spool.append(line + b"\n", line if cached else None)
        read: list[bytes] = []
        while (segment := spool.oldest(ANY)) is not None:
            while group := segment.peek(count):
                read += group
                segment.advance()
            segment.drop()
            spool.remove(segment)
        spool.close()
        assert read == [line for line, _ in lines]


def test_the_lines_of_a_large_file_are_not_cached(spool: Spool) -> None:
    """From a certain size of the file on, all of its lines are read from it."""
    lines = [letter * (CACHED_BYTES // 2) for letter in (b"a", b"b", b"c")]
    for line in lines:
        spool.append(line + b"\n", line)

    read = list(oldest(spool).lines())

    assert read == lines
    assert read[0] is not lines[0]


def test_files_are_limited_in_size(spool_folder: Path) -> None:
    """While the journal is down there are more files, not one that grows."""
    spool = Spool(spool_folder, segment_bytes=20)
    lines = [b"line-%d" % number for number in range(9)]
    append(spool, *lines)

    assert len(names(spool_folder)) == 3
    assert read_spool(spool_folder) == lines
    assert take_all(spool) == lines


def test_the_spool_is_limited_in_size(spool_folder: Path) -> None:
    """Beyond the limit lines are refused, until some are removed."""
    spool = Spool(spool_folder, limit=12)
    append(spool, b"line-1")
    with pytest.raises(OSError, match="wait for the journal"):
        append(spool, b"line-2")

    assert take_all(spool) == [b"line-1"]
    append(spool, b"line-2")
    assert take_all(spool) == [b"line-2"]


def test_long_lines_and_long_files_are_read_in_parts(spool: Spool) -> None:
    """No more is read at once than necessary, and a line may be longer than that."""
    too_long = b"3" * (GROUP_BYTES + 1)
    lines = [b"one", b"two", too_long, b"", b"four"]
    append(spool, *lines)

    segment = oldest(spool)
    groups = []
    while group := segment.peek():
        groups.append(group)
        segment.advance()

    assert groups == [[b"one", b"two"], [too_long, b"", b"four"]]


def test_a_part_of_a_line_is_removed(
    spool: Spool, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as not written, and the next line does not follow it."""
    append(spool, b"one")
    with monkeypatch.context() as patch:
        writing(patch, lambda write, fd, data: write(fd, data[:3]))
        for _ in range(2):
            with pytest.raises(OSError, match="part of a line"):
                append(spool, b"line")
    append(spool, b"two")

    assert [path.read_bytes() for path in sorted(spool_folder.iterdir())] == [b"one\n", b"two\n"]
    assert take_all(spool) == [b"one", b"two"]


def test_a_part_of_a_line_that_stays_is_never_read(
    spool: Spool, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if it cannot be removed: the next line goes to another file."""

    def refuse(fd: int, length: int) -> None:
        raise OSError(errno.EIO, "broken")

    append(spool, b"one")
    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", refuse)
        writing(patch, lambda write, fd, data: write(fd, data[:3]))
        with pytest.raises(OSError, match="broken"):
            append(spool, b"line")
    append(spool, b"two")

    assert (spool_folder / "spool-1.jsonl").read_bytes() == b"one\nlin"
    assert read_spool(spool_folder) == [b"one", b"two"]
    assert take_all(spool) == [b"one", b"two"]


def test_a_full_disk_leaves_nothing_behind(
    spool: Spool, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a line nor empty files, however often it is tried."""

    def full(write: Callable[..., int], fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        writing(patch, full)
        for _ in range(5):
            with pytest.raises(OSError, match="No space"):
                append(spool, b"line")

    assert names(spool_folder) == []
    append(spool, b"line")
    assert take_all(spool) == [b"line"]


def test_an_append_that_interrupts_another_one_keeps_both_lines_whole(
    spool: Spool, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal handler appends between a partial write and its removal."""

    def interrupted(write: Callable[..., int], fd: int, data: bytes) -> int:
        written = write(fd, data[:3])
        spool.rotate()
        append(spool, b"handler")
        return written

    append(spool, b"one")
    with monkeypatch.context() as patch:
        writing(patch, interrupted)
        with pytest.raises(OSError, match="part of a line"):
            append(spool, b"line")
    append(spool, b"two")

    assert read_spool(spool_folder) == [b"one", b"handler", b"two"]
    assert take_all(spool) == [b"one", b"handler", b"two"]


def test_an_append_that_interrupts_the_opening_of_a_file_loses_nothing(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files are begun, and both are read."""
    opened = os.open

    def interrupted(*arguments: object) -> int:
        fd = opened(*arguments)  # type: ignore[arg-type]
        monkeypatch.undo()
        append(spool, b"handler")
        return fd

    monkeypatch.setattr(os, "open", interrupted)
    append(spool, b"one")

    assert sorted(take_all(spool)) == [b"handler", b"one"]


def test_a_deleted_folder_loses_no_line_of_a_live_owner(spool: Spool, spool_folder: Path) -> None:
    """Lines are read through the descriptor; new ones are refused until there is a folder again."""
    append(spool, b"one")
    first = oldest(spool)
    append(spool, b"two")
    shutil.rmtree(spool_folder)
    append(spool, b"three")

    assert list(first.lines()) == [b"one"]
    first.drop()
    spool.remove(first)
    assert take_all(spool) == [b"two", b"three"]
    with pytest.raises(FileNotFoundError):
        append(spool, b"four")

    spool_folder.mkdir()
    append(spool, b"four")
    assert read_spool(spool_folder) == [b"four"]


def test_a_deleted_file_is_not_written_for_ever(spool: Spool, spool_folder: Path) -> None:
    """At the next commit, new lines go to a file that other processes can find."""
    append(spool, b"one")
    oldest(spool)
    append(spool, b"two")
    shutil.rmtree(spool_folder)
    spool_folder.mkdir()

    oldest(spool)
    append(spool, b"three")

    assert read_spool(spool_folder) == [b"three"]
    assert take_all(spool) == [b"one", b"two", b"three"]


def test_a_file_that_cannot_be_deleted_is_emptied(
    spool: Spool, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a recovery would commit it once more, after later lines."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EROFS, "Read-only")

    append(spool, b"one")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        assert take_all(spool) == [b"one"]

    assert names(spool_folder) == ["spool-1.jsonl"]
    assert read_spool(spool_folder) == []


def test_files_that_exist_are_left_alone(spool_folder: Path) -> None:
    """New numbers are higher; other files do not belong to the spool."""
    (spool_folder / "spool-9.jsonl").write_bytes(b"old\n")
    (spool_folder / "spool-x.jsonl").write_bytes(b"foreign\n")
    (spool_folder / "lock").touch()
    spool = Spool(spool_folder)

    append(spool, b"new")

    assert read_spool(spool_folder) == [b"old", b"new"]
    assert take_all(spool) == [b"new"]
    assert names(spool_folder) == ["lock", "spool-9.jsonl", "spool-x.jsonl"]


def test_files_of_a_dead_owner_are_read_in_the_order_of_their_numbers(spool_folder: Path) -> None:
    """Ten comes after nine; a line without an end is left out; dropping deletes."""
    for number in (10, 9, 11):
        (spool_folder / f"spool-{number}.jsonl").write_bytes(b"line-%d\nunfin" % number)

    files = segments(spool_folder)

    assert [list(segment.lines()) for segment in files] == [[b"line-9"], [b"line-10"], [b"line-11"]]
    for segment in files:
        segment.drop()
        segment.drop()
    assert names(spool_folder) == []
    assert files[0].peek() == []


def test_a_folder_that_cannot_be_read_is_an_error(
    spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So is a file that cannot be opened, as the folder must not count as empty."""
    with pytest.raises(FileNotFoundError):
        segments(spool_folder / "nowhere")

    (spool_folder / "spool-1.jsonl").touch()
    (spool_folder / "spool-2.jsonl").mkdir()
    with pytest.raises(IsADirectoryError):
        list(segments(spool_folder)[1].lines())

    def refuse(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError):
        segments(spool_folder)


KILLED = """
import os, signal, sys
from pathlib import Path
from eventflow.journal.spool import Spool

spool, write = Spool(Path(sys.argv[1])), os.write
for number in range(1000):
    spool.append(b"line-%d\\n" % number)

def killed(fd, data):
    write(fd, data[: int(sys.argv[2])])
    os.kill(os.getpid(), signal.SIGKILL)

os.write = killed
spool.append(b"line-1000\\n")
"""


@pytest.mark.parametrize("written", [0, 5, 9, 10])
def test_a_kill_within_a_write_leaves_all_whole_lines(spool_folder: Path, written: int) -> None:
    """Every line whose append had returned is there, and never a part of one."""
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(spool_folder), str(written)],
        cwd=ROOT,
        timeout=60,
        check=False,
    )

    assert ended.returncode == -signal.SIGKILL
    whole = 1001 if written == 10 else 1000
    assert read_spool(spool_folder) == [b"line-%d" % number for number in range(whole)]
