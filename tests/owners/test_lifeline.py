"""The owner's side of its guardian: what is handed over, and that no trouble is the run's."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from eventflow.owners import guardian
from eventflow.owners import lifeline as module
from eventflow.owners.folders import begin, describe
from eventflow.owners.lifeline import (
    BLOB_BYTES,
    TOTAL_BYTES,
    Lifeline,
    read_blobs,
    recovery_command,
    recovery_environment,
    start_recovery,
)
from eventflow.owners.process import recovery_program

posix = pytest.mark.skipif(os.name != "posix", reason="there is no guardian elsewhere")

# What the guardian becomes in these tests: it tells what it was given through a named pipe.
STUB = """
import json, os, sys
arguments = sys.argv[2:]
told = {"arguments": arguments, "url": os.environ["EVENTFLOW_JOURNAL_URL"], "blobs": 0}
if "--blobs" in arguments:
    told["blobs"] = os.fstat(int(arguments[-1])).st_size
with open(sys.argv[1], "w") as out:
    json.dump(told, out)
"""
URL = "sqlite:////srv/journal.db"


class Ear:
    """The reading end of a named pipe."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        # Held open, so that the end of one writer is not the end.
        self.own = os.open(path, os.O_WRONLY)

    def hear(self) -> Any:
        """Wait for what is told."""
        readable, _, _ = select.select([self.fd], [], [], 30)
        assert readable == [self.fd]

        return json.loads(os.read(self.fd, 65536))


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    made = Ear(tmp_path / "told")
    yield made
    os.close(made.fd)
    os.close(made.own)


@pytest.fixture
def line(tmp_path: Path, ear: Ear) -> Iterator[Lifeline]:
    command = [sys.executable, "-I", "-S", "-c", STUB, str(ear.path), "--owner", "x"]
    made = Lifeline(tmp_path, URL, command)
    yield made
    made.bye()


def gone(line: Lifeline) -> None:
    """Wait until nobody has the other end of the pipe."""
    poll = select.poll()
    poll.register(line._pipe, 0)
    assert poll.poll(30_000)


def descriptors() -> int:
    """Count what is open in this process; 0 where that cannot be told."""
    folder = Path("/proc/self/fd")

    return len(list(folder.iterdir())) if folder.exists() else 0


@posix
def test_both_sides_agree_on_how_a_clean_end_is_said() -> None:
    """The guardian cannot import what its owner imports, so that it is written down twice."""
    assert (module.BYE, len(module.HEADER)) == (guardian.BYE, guardian.HEADER)


@posix
def test_the_end_of_the_owner_makes_the_guardian_its_command(line: Lifeline, ear: Ear) -> None:
    """Without a bye, with what was handed over, and in the owner's environment."""
    assert line.start() is None
    assert line.is_alive
    assert line.start() is None
    assert line.hand_over("etl:flow", b"12345") is None
    line._cut()

    told = ear.hear()
    assert told["arguments"][:3] == ["--owner", "x", "--blobs"]
    assert told["url"] == URL
    assert told["blobs"] == 4 + 4 + 4 + len("etl:flow") + 5


@posix
def test_after_a_bye_the_guardian_goes(line: Lifeline, ear: Ear) -> None:
    """It becomes nothing; afterwards nothing is taken, and a new one can be started."""
    assert line.start() is None
    assert line.hand_over("a", b"1") is None
    line.bye()
    assert not line.is_alive
    assert line.hand_over("a", b"2") == "there is no guardian"
    line.bye()

    assert line.start() is None
    line._cut()
    assert "--blobs" not in ear.hear()["arguments"]


@posix
def test_what_is_handed_over_comes_back(line: Lifeline) -> None:
    """Of each key the last blob; the same again is not written again; any text is a key."""
    assert line.hand_over("early", b"") == "there is no guardian"
    assert line.start() is None
    for blob in (b"one", b"two", b"one"):
        assert line.hand_over("etl:flow", blob) is None
    given = {"etl:flow": b"one", "*": b"", "\udce4ü": b"\0" * 70_000}
    for _ in range(2):
        end = line._end
        for key, blob in given.items():
            assert line.hand_over(key, blob) is None
    assert line._end == end
    assert read_blobs(line._note) == given


@posix
@pytest.mark.parametrize("cut", [1, 3, 9, 11])
def test_what_the_owner_was_killed_in_the_middle_of_does_not_count(
    line: Lifeline, cut: int
) -> None:
    """However much of it is there: the end of the blob, of the key or of the lengths is cut off."""
    assert line.start() is None
    assert line.hand_over("a", b"whole") is None
    assert line.hand_over("b", b"222") is None
    os.ftruncate(line._note, line._end - cut)
    assert read_blobs(line._note) == {"a": b"whole"}


@posix
def test_no_more_is_taken_than_may_be(line: Lifeline) -> None:
    """Neither in one piece nor in all; what is refused leaves nothing behind."""
    assert line.start() is None
    assert "more than the 1048576" in (line.hand_over("a", bytes(BLOB_BYTES)) or "")
    taken = 0
    while line.hand_over(f"{taken:02}", bytes(BLOB_BYTES - 2)) is None:
        taken += 1
    assert taken == TOTAL_BYTES // BLOB_BYTES - 1
    assert "16777216 in all" in (line.hand_over("z", bytes(BLOB_BYTES - 1)) or "")
    assert len(read_blobs(line._note)) == taken


@posix
def test_a_blob_that_cannot_be_written_leaves_nothing(
    line: Lifeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No memory, or not enough: the reason is given, and the next one is whole."""
    assert line.start() is None
    real = os.pwrite

    def failing(note: int, data: bytes, place: int) -> int:
        raise OSError("no memory")

    monkeypatch.setattr(os, "pwrite", lambda note, data, place: real(note, data[:-9], place))
    assert line.hand_over("a", bytes(50)) == "there is not enough memory for it"
    monkeypatch.setattr(os, "pwrite", failing)
    assert line.hand_over("a", bytes(50)) == "it cannot be written down: no memory"
    monkeypatch.undo()
    assert line.hand_over("b", b"1") is None
    assert read_blobs(line._note) == {"b": b"1"}


@posix
def test_a_guardian_that_cannot_be_started_is_no_error(
    line: Lifeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The reason is given, nothing stays open, and it can be tried again."""
    before = descriptors()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert "No such file" in (line.start() or "")
    monkeypatch.setattr(module, "GUARDIAN", tmp_path / "guardian.py")
    assert "cannot be run from an archive" in (line.start() or "")
    assert not line.is_alive
    # The note stays, for the next try.
    assert descriptors() == before + (before > 0)
    monkeypatch.undo()
    assert line.start() is None

    monkeypatch.setattr(sys, "executable", "")
    assert Lifeline(tmp_path, URL).start() == "there is no Python interpreter to start it with"
    assert start_recovery(tmp_path, URL) == "there is no Python interpreter to start it with"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
def test_another_guardian_takes_the_place_of_one_that_was_killed(line: Lifeline, ear: Ear) -> None:
    """It is known at once that the first is gone; the second has all that was handed over."""
    assert line.start() is None
    assert line.hand_over("a", b"1") is None
    parted()
    kill_guardian(line)
    gone(line)
    assert not line.is_alive

    assert line.start() is None
    line._cut()
    assert ear.hear()["blobs"] == 4 + 4 + 4 + 1 + 1


def parted() -> None:
    """Wait until every guardian is nobody's child."""
    while module._starters:
        os.waitpid(module._starters.pop(), 0)


def kill_guardian(line: Lifeline) -> None:
    """Kill the process that has the note of a lifeline open, which is not this one."""
    # With its device: on another one, anybody may have a file of that number open.
    stat = os.fstat(line._note)
    note = stat.st_dev, stat.st_ino
    for one in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it may have ended meanwhile
            stats = [fd.stat() for fd in (one / "fd").iterdir()]
            held = {(found.st_dev, found.st_ino) for found in stats}
            if note in held and one.name != str(os.getpid()):
                os.kill(int(one.name), 9)


def test_a_command_never_shows_a_password(tmp_path: Path) -> None:
    """Every user can read commands, and only the own ones an environment."""
    url = "postgresql://me:secret@host/db"
    folder = tmp_path / "id"
    assert recovery_command(folder, url) == [*recovery_program(), "--owner", str(folder)]
    assert recovery_environment(url)["EVENTFLOW_JOURNAL_URL"] == url
    plain = "postgresql://host/db"
    assert recovery_command(folder, plain)[-2:] == ["--journal", plain]


def test_a_command_means_the_same_in_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths are absolute in it; and the dead owner's own interpreter is used, if it is there."""
    monkeypatch.chdir(tmp_path)
    ends = ["--owner", f"{tmp_path}/o/id", "--journal", f"sqlite:///{tmp_path}/j.db"]
    assert recovery_command(Path("o/id"), "sqlite:///j.db")[-4:] == ends
    assert recovery_command(None, "memory://")[-2:] == ["--journal", "memory://"]
    assert "--owner" not in recovery_command(None, "memory://")

    assert recovery_command(tmp_path, URL, [sys.executable, "-B"])[:3] == [
        *(sys.executable, "-B", "--owner")
    ]
    ours = recovery_program()
    assert recovery_command(tmp_path, URL, ["/gone/python"])[: len(ours)] == [*ours]


@posix
def test_a_dead_owner_is_recovered_by_a_process_of_its_own(
    tmp_path: Path, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the owner's program, by nobody's child, and without a pipe of this process."""
    with begin(tmp_path / "owners", describe()) as folder:
        pass
    stub = [sys.executable, "-I", "-S", "-c", STUB, str(ear.path)]
    told = json.loads((folder.path / "owner.json").read_text()) | {"program": stub}
    (folder.path / "owner.json").write_text(json.dumps(told))

    assert start_recovery(folder.path, URL) is None
    assert ear.hear()["arguments"] == ["--owner", str(folder.path), "--journal", URL]

    def failing(*_: Any, **__: Any) -> None:
        raise OSError("too many processes")

    monkeypatch.setattr(subprocess, "Popen", failing)
    said = start_recovery(folder.path, URL)
    assert said == "the recovery cannot be started: too many processes"


@posix
def test_a_note_needs_no_memory_file(line: Lifeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are none, a file without a name does."""
    monkeypatch.delattr(os, "memfd_create", raising=False)
    assert line.start() is None
    assert line.hand_over("a", b"1") is None
    assert read_blobs(line._note) == {"a": b"1"}
    assert os.fstat(line._note).st_nlink == 0
