"""The owner's side of its guardian: it starts, it ends with the owner, and trouble fails no run."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from eventflow.owners import lifeline as module
from eventflow.owners.folders import LockedFolder
from eventflow.owners.lifeline import (
    Lifeline,
    recovery_command,
    recovery_environment,
    start_recovery,
)
from eventflow.owners.note import HEADER
from eventflow.owners.process import describe, recovery_program

posix = pytest.mark.skipif(os.name != "posix", reason="there is no guardian elsewhere")

# What the guardian executes in these tests: it reports its arguments through a named pipe.
STUB = """
import json, os, sys
arguments = sys.argv[2:]
report = {"arguments": arguments, "url": os.environ["EVENTFLOW_JOURNAL_URL"], "size": 0}
if "--blobs" in arguments:
    report["size"] = os.fstat(int(arguments[-1])).st_size
with open(sys.argv[1], "w") as pipe:
    json.dump(report, pipe)
"""
URL = "sqlite:////srv/journal.db"


class Reports:
    """The reading end of a named pipe."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        # Kept open, so that the pipe does not end with its first writer.
        self.writer = os.open(path, os.O_WRONLY)

    def next(self) -> Any:
        """Wait for a report."""
        readable, _, _ = select.select([self.fd], [], [], 30)
        assert readable == [self.fd]

        return json.loads(os.read(self.fd, 65536))


@pytest.fixture
def reports(tmp_path: Path) -> Iterator[Reports]:
    made = Reports(tmp_path / "reports")
    yield made
    os.close(made.fd)
    os.close(made.writer)


@pytest.fixture
def line(tmp_path: Path, reports: Reports) -> Iterator[Lifeline]:
    command = [sys.executable, "-I", "-S", "-c", STUB, str(reports.path), "--owner", "x"]
    made = Lifeline(tmp_path, URL, command)
    yield made
    made.dismiss()


def descriptors() -> dict[int, str]:
    """Return what each open descriptor of this process refers to; nothing where that is unknown."""
    found = {}
    for fd in range(4096):
        with suppress(OSError):
            found[fd] = str(Path(f"/proc/self/fd/{fd}").readlink())

    return found


@posix
def test_after_the_end_of_its_owner_the_guardian_executes_its_command(
    line: Lifeline, reports: Reports
) -> None:
    """With the hooks that were handed over, and in the owner's environment."""
    assert line.start() is None
    assert line.is_alive
    assert line.start() is None
    assert line.hand_over("etl:flow", b"12345") is None
    line.disconnect()

    report = reports.next()
    assert report["arguments"][:3] == ["--owner", "x", "--died"]
    assert abs(time.time() - float(report["arguments"][3])) < 60
    assert report["arguments"][-2] == "--blobs"
    # By which it is known how this process ended.
    assert ("--pidfd" in report["arguments"]) is hasattr(os, "pidfd_open")
    assert report["url"] == URL
    assert report["size"] == len(HEADER) + 4 + 4 + len("etl:flow") + 5


@posix
def test_without_descriptors_of_processes_there_is_a_guardian(
    line: Lifeline, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    assert line.start() is None
    line.disconnect()
    assert "--pidfd" not in reports.next()["arguments"]


@posix
def test_a_guardian_that_is_dismissed_exits(line: Lifeline, reports: Reports) -> None:
    """It executes nothing; nothing can be handed over then, and a new one can be started."""
    assert line.hand_over("early", b"") == "there is no guardian"
    assert line.start() is None
    assert line.hand_over("a", b"1") is None
    line.dismiss()
    assert not line.is_alive
    assert line.hand_over("a", b"2") == "there is no guardian"
    line.dismiss()

    assert line.start() is None
    line.disconnect()
    assert "--blobs" not in reports.next()["arguments"]


@posix
def test_a_guardian_that_cannot_be_started_is_no_error(
    line: Lifeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The reason is returned, nothing stays open, and it can be tried again."""
    before = descriptors()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert "No such file" in (line.start() or "")
    monkeypatch.setattr(module, "GUARDIAN", tmp_path / "guardian.py")
    assert "cannot be run from an archive" in (line.start() or "")
    assert not line.is_alive
    # The note is kept for the next try. What earlier tests left open may be closed meanwhile.
    opened = [name for _, name in descriptors().items() - before.items()]
    assert len(opened) == (len(before) > 0), opened
    monkeypatch.undo()
    assert line.start() is None

    monkeypatch.setattr(sys, "executable", "")
    assert Lifeline(tmp_path, URL).start() == "there is no Python interpreter to start it with"
    assert start_recovery(tmp_path, URL) == "there is no Python interpreter to start it with"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
def test_a_guardian_that_was_killed_is_replaced(line: Lifeline, reports: Reports) -> None:
    """The end of the first is noticed at once; the second has all that was handed over."""
    assert line.start() is None
    assert line.hand_over("a", b"1") is None
    while line.is_alive:
        kill_guardian(line)

    assert line.start() is None
    line.disconnect()
    assert reports.next()["size"] == len(HEADER) + 4 + 4 + 1 + 1


def kill_guardian(line: Lifeline) -> None:
    """Kill every process but this one that has the note of a lifeline open."""
    # With its device: a file on another device may have the same number.
    assert line.note is not None
    stat = os.fstat(line.note.descriptor)
    note = stat.st_dev, stat.st_ino
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it may have ended meanwhile
            stats = [fd.stat() for fd in (process / "fd").iterdir()]
            opened = {(stat.st_dev, stat.st_ino) for stat in stats}
            if note in opened and process.name != str(os.getpid()):
                os.kill(int(process.name), 9)


def test_a_command_never_shows_a_password(tmp_path: Path) -> None:
    """Every user can read commands, but only the environment of their own processes."""
    url = "postgresql://me:secret@host/db"
    folder = tmp_path / "id"
    assert recovery_command(folder, url) == [*recovery_program(), "--owner", str(folder)]
    assert recovery_environment(url)["EVENTFLOW_JOURNAL_URL"] == url
    plain = "postgresql://host/db"
    assert recovery_command(folder, plain)[-2:] == ["--journal", plain]


def test_a_command_means_the_same_in_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths are absolute in it; the dead owner's own interpreter is used if it exists."""
    monkeypatch.chdir(tmp_path)
    ends = ["--owner", f"{tmp_path}/o/id", "--journal", f"sqlite:///{tmp_path}/j.db"]
    assert recovery_command(Path("o/id"), "sqlite:///j.db")[-4:] == ends
    assert recovery_command(None, "memory://")[-2:] == ["--journal", "memory://"]
    assert "--owner" not in recovery_command(None, "memory://")

    assert recovery_command(tmp_path, URL, [sys.executable, "-B"])[:3] == [
        *(sys.executable, "-B", "--owner")
    ]
    program = recovery_program()
    assert recovery_command(tmp_path, URL, ["/gone/python"])[: len(program)] == [*program]


@posix
def test_a_dead_owner_is_recovered_by_a_process_of_its_own(
    tmp_path: Path, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the owner's program, not as a child, and without a pipe of this process."""
    with LockedFolder.create(tmp_path / "owners", describe()) as folder:
        pass
    stub = [sys.executable, "-I", "-S", "-c", STUB, str(reports.path)]
    described = folder.path / "owner.json"
    described.write_text(json.dumps(json.loads(described.read_text()) | {"program": stub}))

    assert start_recovery(folder.path, URL) is None
    arguments = reports.next()["arguments"]
    assert arguments[:5] == ["--owner", str(folder.path), "--journal", URL, "--died"]

    def failing(*_: Any, **__: Any) -> None:
        raise OSError("too many processes")

    monkeypatch.setattr(subprocess, "Popen", failing)
    problem = start_recovery(folder.path, URL)
    assert problem == "the recovery cannot be started: too many processes"


@posix
def test_a_time_that_is_over_has_the_command_executed(line: Lifeline, reports: Reports) -> None:
    """Once, with the note; one that is later is heard of then, an earlier one at once."""
    line.set_due(1.0, earlier=True)  # there is no guardian yet
    assert line.start() is None
    line.set_due(time.monotonic() + 3_600, earlier=True)
    line.set_due(time.monotonic() + 0.01, earlier=True)
    first = reports.next()["arguments"]
    assert first[:3] == ["--owner", "x", "--lasting"]
    assert line.note is not None
    line.set_due(time.monotonic(), earlier=True)
    assert reports.next()["arguments"] == first
    assert line.is_alive


@posix
def test_a_time_for_a_guardian_that_was_killed(line: Lifeline, reports: Reports) -> None:
    """Telling it raises no signal; the next one finds the time in the note."""
    assert line.start() is None
    line.set_due(time.monotonic() + 3_600, earlier=True)
    pid = int(_guardian_of(line))
    os.kill(pid, 9)
    deadline = time.monotonic() + 30
    while line.is_alive:
        assert time.monotonic() < deadline
    line.set_due(time.monotonic(), earlier=True)
    assert line.start() is None
    assert reports.next()["arguments"][2] == "--lasting"


def _guardian_of(line: Lifeline) -> str:
    """Wait until the guardian is a process of its own, and return its id."""
    assert line.note is not None
    inode, deadline = os.fstat(line.note.descriptor).st_ino, time.monotonic() + 30
    while time.monotonic() < deadline:
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                has_note = any(fd.stat().st_ino == inode for fd in (process / "fd").iterdir())
                parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
                if has_note and parent == "1" and int(process.name) != os.getpid():
                    return process.name
    raise AssertionError("there is no guardian")
