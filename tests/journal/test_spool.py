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
from hypothesis import given
from hypothesis import strategies as st

from eventflow.journal import spool as spool_module
from eventflow.journal.spool import Segment, Spool, segments

ROOT = Path(__file__).parent.parent.parent
ANY = 2**63


@pytest.fixture
def spooled(tmp_path: Path) -> Path:
    found = tmp_path / "owner"
    found.mkdir()
    return found


@pytest.fixture
def spool(spooled: Path) -> Iterator[Spool]:
    one = Spool(spooled)
    yield one
    one.close()


def put(spool: Spool, *lines: bytes) -> None:
    for line in lines:
        spool.append(line + b"\n")


def left(folder: Path) -> list[bytes]:
    """Read what somebody else would find."""
    found = []
    for segment in segments(folder):
        found += list(segment.lines())
        segment.close()
    return found


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def oldest(spool: Spool) -> Segment:
    found = spool.oldest(ANY)
    assert found is not None
    return found


def taken(spool: Spool) -> list[bytes]:
    """Take all that waits, as a committer does."""
    found: list[bytes] = []
    while (segment := spool.oldest(ANY)) is not None:
        found += list(segment.lines())
        segment.drop()
        spool.forget(segment)
    return found


def writing(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Callable[..., int], int, bytes], int]
) -> None:
    """Have `os.write` do something else with lines."""
    write = os.write

    def changed(fd: int, data: bytes) -> int:
        return change(write, fd, data) if data.startswith(b"line") else write(fd, data)

    monkeypatch.setattr(os, "write", changed)


def test_a_line_is_there_for_others_as_soon_as_it_is_appended(spool: Spool, spooled: Path) -> None:
    """Nothing is flushed or closed; the file is its owner's only."""
    put(spool, b"one", b"two")

    assert left(spooled) == [b"one", b"two"]
    assert (spooled / "spool-1.jsonl").stat().st_mode & 0o777 == 0o600


def test_nothing_is_made_before_the_first_line_and_nothing_stays_after_the_last(
    spool: Spool, spooled: Path
) -> None:
    """An idle owner has no file."""
    assert spool.oldest(ANY) is None
    assert names(spooled) == []

    put(spool, b"one")
    assert taken(spool) == [b"one"]

    assert names(spooled) == []
    assert spool.size == 0


def test_what_is_taken_is_whole_and_what_comes_goes_elsewhere(spool: Spool) -> None:
    """A file that was given away is added to no more, and files are given in their order."""
    put(spool, b"one")
    first = oldest(spool)
    put(spool, b"two")

    assert list(first.lines()) == [b"one"]
    assert spool.oldest(first.number) is first
    first.drop()
    spool.forget(first)
    assert spool.oldest(first.number) is None
    assert taken(spool) == [b"two"]


def test_lines_are_given_again_until_one_goes_on(spool: Spool) -> None:
    """A group that could not be committed is not lost, and one that was is not repeated."""
    put(spool, b"one", b"two", b"three")
    segment = oldest(spool)

    assert segment.peek(2) == [b"one", b"two"]
    assert segment.peek(1) == [b"one"]
    segment.advance()
    assert segment.peek() == [b"two", b"three"]
    segment.advance()
    assert segment.peek() == []


def test_lines_that_are_remembered_are_not_read_again(spool: Spool, spooled: Path) -> None:
    """Who commits in the process that wrote them gets the very same; others find them in files."""
    lines = [b"one", b"two", b"three"]
    for line in lines:
        spool.append(line + b"\n", line)
    assert left(spooled) == lines
    segment = oldest(spool)
    assert segment.peek(2)[1] is lines[1]
    segment.advance()
    assert segment.peek()[0] is lines[2]


@given(
    lines=st.lists(
        st.tuples(st.binary(max_size=9).filter(lambda one: b"\n" not in one), st.booleans())
    ),
    at_a_time=st.integers(1, 5),
    most=st.integers(0, 60),
)
def test_it_makes_no_difference_what_is_remembered(
    lines: list[tuple[bytes, bool]], at_a_time: int, most: int
) -> None:
    """Whichever lines are, up to whichever size of a file, they are given once, and in order."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool_module, "KNOWN_BYTES", most)
        spool = Spool(Path(name), segment_bytes=20)
        for line, known in lines:
            spool.append(line + b"\n", line if known else None)
        found: list[bytes] = []
        while (segment := spool.oldest(ANY)) is not None:
            while some := segment.peek(at_a_time):
                found += some
                segment.advance()
            segment.drop()
            spool.forget(segment)
        spool.close()
        assert found == [line for line, _ in lines]


def test_files_have_an_end(spooled: Path) -> None:
    """A journal that is down for long makes more files, not one without end."""
    spool = Spool(spooled, segment_bytes=20)
    lines = [b"line-%d" % number for number in range(9)]
    put(spool, *lines)

    assert len(names(spooled)) == 3
    assert left(spooled) == lines
    assert taken(spool) == lines


def test_there_is_an_end_to_what_may_wait(spooled: Path) -> None:
    """Beyond it lines are refused, until some were taken."""
    spool = Spool(spooled, limit=12)
    put(spool, b"line-1")
    with pytest.raises(OSError, match="wait for the journal"):
        put(spool, b"line-2")

    assert taken(spool) == [b"line-1"]
    put(spool, b"line-2")
    assert taken(spool) == [b"line-2"]


def test_long_lines_and_long_files_are_read_in_parts(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more is read at once than must be, and a line may be longer than that."""
    monkeypatch.setattr(spool_module, "GROUP_BYTES", 10)
    lines = [b"one", b"two", b"three" * 20, b"", b"four"]
    put(spool, *lines)

    groups = list(oldest(spool).groups())

    assert groups == [[b"one", b"two"], [b"three" * 20, b"", b"four"]]


def test_a_part_of_a_line_is_taken_back(
    spool: Spool, spooled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as not written, and the next line does not come behind it."""
    put(spool, b"one")
    with monkeypatch.context() as patch:
        writing(patch, lambda write, fd, data: write(fd, data[:3]))
        for _ in range(2):
            with pytest.raises(OSError, match="part of a line"):
                put(spool, b"line")
    put(spool, b"two")

    assert [path.read_bytes() for path in sorted(spooled.iterdir())] == [b"one\n", b"two\n"]
    assert taken(spool) == [b"one", b"two"]


def test_a_part_of_a_line_that_stays_is_never_read(
    spool: Spool, spooled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where it cannot be taken back: the next line goes to another file."""

    def refuse(fd: int, length: int) -> None:
        raise OSError(errno.EIO, "broken")

    put(spool, b"one")
    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", refuse)
        writing(patch, lambda write, fd, data: write(fd, data[:3]))
        with pytest.raises(OSError, match="broken"):
            put(spool, b"line")
    put(spool, b"two")

    assert (spooled / "spool-1.jsonl").read_bytes() == b"one\nlin"
    assert left(spooled) == [b"one", b"two"]
    assert taken(spool) == [b"one", b"two"]


def test_a_full_disk_leaves_nothing_behind(
    spool: Spool, spooled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No line, and no heap of empty files however often it is tried."""

    def full(write: Callable[..., int], fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        writing(patch, full)
        for _ in range(5):
            with pytest.raises(OSError, match="No space"):
                put(spool, b"line")

    assert names(spooled) == []
    put(spool, b"line")
    assert taken(spool) == [b"line"]


def test_an_appender_that_is_interrupted_by_another_keeps_both_lines_whole(
    spool: Spool, spooled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal handler comes between a part of a line and its taking back."""

    def interrupted(write: Callable[..., int], fd: int, data: bytes) -> int:
        written = write(fd, data[:3])
        spool.turn()
        put(spool, b"handler")
        return written

    put(spool, b"one")
    with monkeypatch.context() as patch:
        writing(patch, interrupted)
        with pytest.raises(OSError, match="part of a line"):
            put(spool, b"line")
    put(spool, b"two")

    assert left(spooled) == [b"one", b"handler", b"two"]
    assert taken(spool) == [b"one", b"handler", b"two"]


def test_an_appender_that_is_interrupted_while_it_opens_a_file_loses_none(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files are begun, and both are taken."""
    opened = os.open

    def interrupted(*arguments: object) -> int:
        fd = opened(*arguments)  # type: ignore[arg-type]
        monkeypatch.undo()
        put(spool, b"handler")
        return fd

    monkeypatch.setattr(os, "open", interrupted)
    put(spool, b"one")

    assert sorted(taken(spool)) == [b"handler", b"one"]


def test_a_deleted_folder_loses_nothing_of_a_living_owner(spool: Spool, spooled: Path) -> None:
    """Lines are read through the descriptor; new ones wait until there is a folder again."""
    put(spool, b"one")
    first = oldest(spool)
    put(spool, b"two")
    shutil.rmtree(spooled)
    put(spool, b"three")

    assert list(first.lines()) == [b"one"]
    first.drop()
    spool.forget(first)
    assert taken(spool) == [b"two", b"three"]
    with pytest.raises(FileNotFoundError):
        put(spool, b"four")

    spooled.mkdir()
    put(spool, b"four")
    assert left(spooled) == [b"four"]


def test_a_deleted_file_is_not_written_for_ever(spool: Spool, spooled: Path) -> None:
    """As soon as somebody asks for lines the next ones go to a file that others can find."""
    put(spool, b"one")
    oldest(spool)
    put(spool, b"two")
    shutil.rmtree(spooled)
    spooled.mkdir()

    oldest(spool)
    put(spool, b"three")

    assert left(spooled) == [b"three"]
    assert taken(spool) == [b"one", b"two", b"three"]


def test_a_file_that_cannot_be_deleted_is_emptied(
    spool: Spool, spooled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise whoever comes after the owner would commit it once more, after later lines."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EROFS, "Read-only")

    put(spool, b"one")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        assert taken(spool) == [b"one"]

    assert names(spooled) == ["spool-1.jsonl"]
    assert left(spooled) == []


def test_what_is_in_the_folder_already_is_left_alone(spooled: Path) -> None:
    """The numbers go on behind it; other files are not of the spool."""
    (spooled / "spool-9.jsonl").write_bytes(b"old\n")
    (spooled / "spool-x.jsonl").write_bytes(b"foreign\n")
    (spooled / "lock").touch()
    spool = Spool(spooled)

    put(spool, b"new")

    assert left(spooled) == [b"old", b"new"]
    assert taken(spool) == [b"new"]
    assert names(spooled) == ["lock", "spool-9.jsonl", "spool-x.jsonl"]


def test_files_of_a_dead_owner_are_read_in_the_order_of_their_numbers(spooled: Path) -> None:
    """Ten comes after nine; a line without an end is left out; dropping deletes."""
    for number in (10, 9, 11):
        (spooled / f"spool-{number}.jsonl").write_bytes(b"line-%d\nunfin" % number)

    found = segments(spooled)

    assert [list(segment.lines()) for segment in found] == [[b"line-9"], [b"line-10"], [b"line-11"]]
    for segment in found:
        segment.drop()
        segment.drop()
    assert names(spooled) == []
    assert found[0].peek() == []


def test_a_folder_that_cannot_be_read_is_not_taken_for_an_empty_one(
    spooled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one that is not there nor one with a file that cannot be opened."""
    with pytest.raises(FileNotFoundError):
        segments(spooled / "nowhere")

    (spooled / "spool-1.jsonl").touch()
    (spooled / "spool-2.jsonl").mkdir()
    with pytest.raises(IsADirectoryError):
        list(segments(spooled)[1].lines())

    def refuse(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError):
        segments(spooled)


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
def test_a_kill_in_the_middle_of_a_line_or_behind_it_leaves_all_whole_lines(
    spooled: Path, written: int
) -> None:
    """Every line whose append had come back is there, and never a part of one."""
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(spooled), str(written)],
        cwd=ROOT,
        timeout=60,
        check=False,
    )

    assert ended.returncode == -signal.SIGKILL
    whole = 1001 if written == 10 else 1000
    assert left(spooled) == [b"line-%d" % number for number in range(whole)]
