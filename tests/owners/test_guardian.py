"""The guardian as a process: what it costs, what it survives, and when it is gone."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eventflow.owners import guardian
from tests.journal.elsewhere import ROOT, Process

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there is no guardian elsewhere")
linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")

RESIDENT_KILOBYTES = 15 * 1024

# An owner. The process that started the guardian is waited for: then it is there, deaf and parted.
OWNER = """
import os, signal, sys
from pathlib import Path
from eventflow.owners import lifeline
command = [sys.executable, "-I", "-S", "-c", "print('recovered', flush=True)"]
line = lifeline.Lifeline(Path.cwd(), "memory://", command)
assert line.start() is None
os.waitpid(*lifeline._starters, 0)
print(os.fstat(line._note).st_ino, flush=True)
"""


def owner(code: str, *arguments: object) -> Process:
    return Process(f"{OWNER}\n{code}", *arguments)


def guardian_of(owner: Process) -> Path:
    """Give the folder in /proc of the guardian, once the owner has said which note it has."""
    note = int(owner.line())
    for one in Path("/proc").glob("[0-9]*"):
        try:
            has = any(fd.stat().st_ino == note for fd in (one / "fd").iterdir())
        except OSError:
            continue
        if has and int(one.name) != owner.popen.pid:
            return one

    raise AssertionError("there is no guardian")


def field(guardian: Path, name: str) -> str:
    lines = (guardian / "status").read_text().splitlines()

    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:"))


def test_killed_with_its_whole_group_an_owner_is_recovered() -> None:
    """A guardian is in no group of its owner, and not its child."""
    process = owner("sys.stdin.read()")
    assert process.line()
    os.killpg(process.popen.pid, signal.SIGKILL)
    assert process.rest() == "recovered"


@pytest.mark.parametrize("end", ["os._exit(7)", "os.abort()", "", "raise SystemExit(1)"])
def test_whatever_ends_an_owner_without_a_bye_is_followed_by_recovery(end: str) -> None:
    """Its output goes where that of the owner went, and ends when it is done."""
    assert owner(end).rest().endswith("\nrecovered")


def test_after_a_bye_it_is_gone_within_a_second() -> None:
    """Whoever waits for the output of the owner waits no longer than that."""
    process = owner("line.bye(); os._exit(0)")
    assert process.line()
    process.popen.wait(30)
    ended = time.monotonic()
    assert process.rest() == ""
    assert time.monotonic() - ended < 1


def test_an_owner_that_is_done_at_once_is_not_held_up() -> None:
    """The guardian may not even be ready at the bye, and yet it goes, without a word."""
    code = OWNER[: OWNER.index("os.waitpid")] + "line.bye()"
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert (ended.stdout, ended.stderr) == (b"", b"")


def test_a_child_of_the_owner_does_not_hide_its_death() -> None:
    """Forked, it has let go of the pipe, and what it calls is without effect."""
    process = owner(
        "if os.fork():\n    os.kill(os.getpid(), 9)\n"
        "print(line.is_alive, line.start(), flush=True)\nline.bye()\nsys.stdin.read()"
    )
    assert process.line()
    said = {process.line(), process.line()}
    assert said == {"False the guardian is that of the parent process", "recovered"}
    assert process.rest() == ""


def test_an_owner_may_wait_for_all_its_children() -> None:
    """The guardian is none of them, or the two would wait for one another."""
    wait = "try:\n    while True: os.wait()\nexcept ChildProcessError:\n    print('alone')"
    start = OWNER.replace("os.waitpid(*lifeline._starters, 0)", wait)
    process = Process(f"{start}\nprint(line.is_alive)\nline.bye()")
    assert process.line() == "alone"
    assert process.line()
    assert process.rest() == "True"


def test_ctrl_c_ends_the_owner_and_not_its_guardian(tmp_path: Path) -> None:
    """It does not have the terminal, which is free for the next program."""
    main, terminal = pty.openpty()
    code = f"import fcntl, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\n{OWNER}\nsys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(terminal)
    assert process.stdout is not None
    assert process.stdout.readline()
    os.write(main, b"\x03")
    assert process.communicate(timeout=30)[0] == b"recovered\n"
    assert process.returncode == -signal.SIGINT
    os.close(main)


@linux
def test_it_is_small_and_asleep_and_deaf() -> None:
    """It takes up 15 MB at most and does not run at all, whatever is handed over and sent to it."""
    process = owner("""
for number in range(8):
    assert line.hand_over(str(number), bytes(2**20 - 8)) is None
print("done", flush=True)
sys.stdin.read()
""")
    found = guardian_of(process)
    assert process.line() == "done"
    assert int(field(found, "VmRSS").split()[0]) <= RESIDENT_KILOBYTES
    assert field(found, "Threads") == "1"
    stat = (found / "stat").read_text().rpartition(")")[2].split()
    _state, parent, _group, session, terminal = map(str, stat[:5])
    assert terminal == "0"
    assert process.popen.pid not in {int(parent), int(session)}
    opened = sorted(int(one.name) for one in (found / "fd").iterdir())
    assert (opened[:3], len(opened)) == ([0, 1, 2], 4)

    # There is one place only where it sleeps. From there on it does not run, not once.
    while (found / "stat").read_text().rpartition(")")[2].split()[0] != "S":
        os.sched_yield()
    asleep = (found / "schedstat").read_text()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        os.kill(int(found.name), number)
    assert (found / "schedstat").read_text() == asleep
    process.kill()
    assert process.rest() == "recovered"


@linux
def test_it_needs_no_working_folder_and_no_standard_streams(tmp_path: Path) -> None:
    """The folder has vanished, the streams are closed: nothing that is opened gets their place."""
    fifo, gone = tmp_path / "fifo", tmp_path / "gone"
    gone.mkdir()
    os.mkfifo(fifo)
    stub = "import os, sys; f = open(sys.argv[1], 'w'); f.write(str(f.fileno())); os.listdir"
    code = f"""
import os, sys
from pathlib import Path
from eventflow.owners import lifeline
os.chdir({str(gone)!r})
os.rmdir({str(gone)!r})
for number in (0, 1, 2):
    os.close(number)
command = [{sys.executable!r}, "-I", "-S", "-c", {stub!r}, {str(fifo)!r}]
line = lifeline.Lifeline(Path("/"), "memory://", command)
assert line.start() is None and min(line._pipe, line._note) > 2
assert line.hand_over("a", b"1") is None
os.kill(os.getpid(), 9)
"""
    process = Process(code)
    with fifo.open() as said:
        assert int(said.read()) > 2
    assert process.rest() == ""


def test_a_command_that_is_gone_is_said(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Nobody is there to handle an error; the way out is told."""
    note = os.open(tmp_path, os.O_RDONLY)
    handlers = {one: signal.getsignal(one) for one in guardian._DEAF_TO}
    try:
        guardian.become([str(tmp_path / "python"), "-m", "x"], note)
    finally:
        for one, handler in handlers.items():
            signal.signal(one, handler)
        os.close(note)
    assert "left is finished by `eventflow recover`" in capfd.readouterr().err
