"""What can be known of the end of a process: each source alone, and what is said where none is."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from eventflow.owners import guardian
from eventflow.owners.guarding import read_endings
from eventflow.owners.process import describe
from eventflow.recovery import endings
from eventflow.recovery.endings import Ending, Seen, ending_of, exit_status

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such descriptors")

KILLED = signal.SIGKILL.value
EXITED_3 = 3 << 8

Child = tuple[int, int]


@pytest.fixture
def child() -> Iterator[Callable[[Callable[[], object]], Child]]:
    """Give a function that starts a process which ends as it is told, and is not waited for."""
    opened: list[int] = []

    def begin(end: Callable[[], object]) -> Child:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            # Only once its descriptor is open.
            os.close(write)
            os.read(read, 1)
            end()
            os._exit(9)
        os.close(read)
        opened.append(os.pidfd_open(pid))
        os.close(write)
        return pid, opened[-1]

    yield begin
    for each in opened:
        os.close(each)


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@linux
@pytest.mark.parametrize(("end", "status"), [(killed, KILLED), (lambda: os._exit(3), EXITED_3)])
def test_the_status_of_a_process_that_nobody_has_waited_for(
    child: Callable[..., Child], end: Callable[[], None], status: int
) -> None:
    pid, pidfd = child(end)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert exit_status(pidfd, pid) == status
    os.waitpid(pid, 0)


@linux
def test_the_status_of_a_process_that_was_waited_for(child: Callable[..., Child]) -> None:
    """From Linux 6.15 on; before, nobody knows it any more."""
    pid, pidfd = child(killed)
    os.waitpid(pid, 0)
    version = tuple(map(int, os.uname().release.split(".")[:2]))
    assert exit_status(pidfd, pid) == (KILLED if version >= (6, 15) else None)


@linux
def test_a_system_that_tells_no_status(
    child: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endings, "GET_INFO", 0)
    pid, pidfd = child(killed)
    os.waitpid(pid, 0)
    assert exit_status(pidfd, pid) is None
    seen = Seen(datetime.now(UTC), pidfd)
    owner = describe()._replace(pid=pid)
    assert (
        str(ending_of(None, owner, seen)) == " without a word: it was killed, or its host stopped"
    )


@linux
def test_the_status_of_another_process_with_the_same_id_is_not_taken(
    child: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endings, "GET_INFO", 0)
    pid, pidfd = child(killed)
    os.waitpid(pid, 0)
    other, _ = child(lambda: os._exit(3))
    os.waitid(os.P_PID, other, os.WEXITED | os.WNOWAIT)
    assert exit_status(pidfd, other) is None
    os.waitpid(other, 0)


@linux
def test_a_process_that_lives_on(
    child: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection to the guardian has ended, and it has not."""
    monkeypatch.setattr(endings, "END_SECONDS", 0.01)
    pid, pidfd = child(signal.pause)
    ending = ending_of(None, describe()._replace(pid=pid), Seen(datetime.now(UTC), pidfd))
    assert str(ending) == ": it executes another program now, or has closed its files"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.mark.parametrize(
    ("cgroup", "file"),
    [
        ("0::/job.slice\n", "job.slice/memory.events"),
        ("4:memory:/job\n0::/\n", "memory/job/memory.oom_control"),
    ],
)
def test_what_the_out_of_memory_killer_has_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cgroup: str, file: str
) -> None:
    """By the cgroup of the process, in either version; only what came after its beginning."""
    (tmp_path / "cgroup").write_text(cgroup)
    counts = tmp_path / file
    counts.parent.mkdir(parents=True)
    monkeypatch.setattr(guardian, "CGROUPS", (str(tmp_path / "cgroup"), str(tmp_path)))
    counts.write_text("low 0\noom 3\noom_kill 2\n")
    before = guardian.oom_kills()
    assert before == ("its cgroup", 2)
    counts.write_text("low 0\noom 4\noom_kill 3\n")

    ending = ending_of(None, describe(), Seen(datetime.now(UTC), oom_kills=before[1]))

    assert str(ending).endswith("the out-of-memory killer killed 1 process of its cgroup")
    # What exited was not killed for that.
    assert "memory" not in str(ending._replace(status=EXITED_3))


@linux
def test_without_a_cgroup_the_host_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guardian, "CGROUPS", ("/nowhere", "/nowhere"))
    scope, count = guardian.oom_kills() or ("", -1)
    assert scope == "its host"
    assert count >= 0


def test_after_a_restart_of_its_host_a_process_is_gone() -> None:
    before = describe()._replace(boot="another")
    assert str(ending_of(None, before, None)) == ": its host was restarted meanwhile"


def test_what_a_process_has_noted_itself(tmp_path: Path) -> None:
    (tmp_path / "ending").write_text("SIGTERM 100.0\nSIGTERM 105.0\n")
    ending = Ending(noted=read_endings(tmp_path), at=112.0)
    assert str(ending) == ", 12.0 s after SIGTERM"
    killed_after = ending._replace(status=KILLED)
    assert str(killed_after) == ": it was killed by SIGKILL (signal 9), 12.0 s after SIGTERM"
    (tmp_path / "ending").write_text("exit 100.0\n")
    assert str(Ending(noted=read_endings(tmp_path))) == ": it exited before this run had ended"
    (tmp_path / "ending").write_text("torn")
    assert read_endings(tmp_path) == []
