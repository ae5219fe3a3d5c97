"""The guardian as a process: what it costs, what it survives, and when it exits."""

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

# An owner. It waits for the process that started the guardian, which has detached itself by then.
OWNER = """
import os, signal, sys
from pathlib import Path
from eventflow.owners import lifeline
command = [sys.executable, "-I", "-S", "-c", "print('recovered', flush=True)"]
line = lifeline.Lifeline(Path.cwd(), "memory://", command)
assert line.start() is None
os.wait()
print(os.fstat(line.note.descriptor).st_ino, flush=True)
"""


def owner(code: str, *arguments: object) -> Process:
    return Process(f"{OWNER}\n{code}", *arguments)


def guardian_of(owner: Process) -> Path:
    """Return the folder in /proc of the guardian: the other process that has the owner's note."""
    note = int(owner.line())
    for process in Path("/proc").glob("[0-9]*"):
        try:
            has_note = any(fd.stat().st_ino == note for fd in (process / "fd").iterdir())
        except OSError:
            continue
        if has_note and int(process.name) != owner.popen.pid:
            return process

    raise AssertionError("there is no guardian")


def field(guardian: Path, name: str) -> str:
    lines = (guardian / "status").read_text().splitlines()

    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:"))


def test_killed_with_its_whole_group_an_owner_is_recovered() -> None:
    """A guardian is neither in the process group of its owner nor its child."""
    process = owner("sys.stdin.read()")
    assert process.line()
    os.killpg(process.popen.pid, signal.SIGKILL)
    assert process.rest() == "recovered"


@pytest.mark.parametrize("end", ["os._exit(7)", "os.abort()", "", "raise SystemExit(1)"])
def test_every_unclean_end_of_an_owner_is_followed_by_recovery(end: str) -> None:
    """The recovery writes to the output of the owner, which ends with it."""
    assert owner(end).rest().endswith("\nrecovered")


def test_after_a_clean_end_it_exits_within_a_second() -> None:
    """A process that reads the output of the owner waits no longer than that."""
    process = owner("line.dismiss(); os._exit(0)")
    assert process.line()
    process.popen.wait(30)
    ended = time.monotonic()
    assert process.rest() == ""
    assert time.monotonic() - ended < 1


def test_an_owner_that_ends_at_once_is_not_delayed() -> None:
    """The guardian may not be ready when it is dismissed: it exits and prints nothing."""
    code = OWNER[: OWNER.index("os.wait()")] + "line.dismiss()"
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert (ended.stdout, ended.stderr) == (b"", b"")


def test_a_child_of_the_owner_does_not_hide_its_death() -> None:
    """A forked child closes the pipe, and its calls have no effect."""
    process = owner(
        "if os.fork():\n    os.kill(os.getpid(), 9)\n"
        "print(line.is_alive, line.start(), flush=True)\nline.dismiss()\nsys.stdin.read()"
    )
    assert process.line()
    lines = {process.line(), process.line()}
    assert lines == {"False the guardian is that of the parent process", "recovered"}
    assert process.rest() == ""


def test_an_owner_may_wait_for_all_its_children() -> None:
    """The guardian is none of them: otherwise each would wait for the other."""
    wait = "try:\n    while True: os.wait()\nexcept ChildProcessError:\n    print('alone')"
    start = OWNER.replace("os.wait()", wait)
    process = Process(f"{start}\nprint(line.is_alive)\nline.dismiss()")
    assert process.line() == "alone"
    assert process.line()
    assert process.rest() == "True"


def test_ctrl_c_ends_the_owner_and_not_its_guardian(tmp_path: Path) -> None:
    """It has no terminal; the next program can use that of its owner."""
    main, terminal = pty.openpty()
    # It waits in turns: a signal just before a blocking call would not end that call.
    rest = "import time\nwhile True: time.sleep(0.01)"
    code = f"import fcntl, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\n{OWNER}\n{rest}"
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
def test_it_is_small_and_asleep_and_ignores_signals() -> None:
    """It needs 15 MB at most and does not run, whatever is handed over and sent to it."""
    process = owner("""
for number in range(8):
    assert line.hand_over(str(number), bytes(2**20 - 8)) is None
print("done", flush=True)
sys.stdin.read()
""")
    folder = guardian_of(process)
    assert process.line() == "done"
    assert int(field(folder, "VmRSS").split()[0]) <= RESIDENT_KILOBYTES
    assert field(folder, "Threads") == "1"
    stat = (folder / "stat").read_text().rpartition(")")[2].split()
    _state, parent, _group, session, terminal = map(str, stat[:5])
    assert terminal == "0"
    assert process.popen.pid not in {int(parent), int(session)}
    opened = sorted(int(fd.name) for fd in (folder / "fd").iterdir())
    # The note and, on Linux, its owner.
    assert (opened[:3], len(opened)) == ([0, 1, 2], 5)

    # It sleeps in one place only. After that it must not run, not once.
    while (folder / "stat").read_text().rpartition(")")[2].split()[0] != "S":
        os.sched_yield()
    asleep = (folder / "schedstat").read_text()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        os.kill(int(folder.name), number)
    assert (folder / "schedstat").read_text() == asleep
    process.kill()
    assert process.rest() == "recovered"


@linux
def test_it_needs_no_working_folder_and_no_standard_streams(tmp_path: Path) -> None:
    """The folder is deleted and the streams are closed: no file gets their descriptors."""
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
assert line.start() is None and line.note.descriptor > 2
assert line.hand_over("a", b"1") is None
os.kill(os.getpid(), 9)
"""
    process = Process(code)
    with fifo.open() as report:
        assert int(report.read()) > 2
    assert process.rest() == ""


def test_a_command_that_is_missing_is_reported(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The message names the command that recovers the owner."""
    note = os.open(tmp_path, os.O_RDONLY)
    handlers = {number: signal.getsignal(number) for number in guardian.IGNORED_SIGNALS}
    try:
        guardian.execute([str(tmp_path / "python"), "-m", "x"], note)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(note)
    assert "left is finished by `eventflow recover`" in capfd.readouterr().err
