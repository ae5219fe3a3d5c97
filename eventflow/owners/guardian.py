"""The process that outlives its owner: it sleeps until the owner ends, then recovers it if need be.

It is run as a script, by path, in an interpreter without site-packages; what it imports before its
owner ends stays in memory all the time. Its standard input reaches its end when the owner ends. A
file without a name, the *note*, says whether that was a clean end, and holds the hooks that were
handed over. After an unclean end the guardian executes the command that it was given, with
`--blobs` and the descriptor of the note appended if there are hooks in it.

The note also has a time, by `time.monotonic`, that the living owner sets. If it has not set another
one by then, it does not deliver what is due because a state has lasted: it is stopped, or its
interpreter is stuck. Then the guardian runs the command with `--lasting` and that descriptor, which
notes a second time: when there will be something due that the owner has to deliver. What comes
through the standard input only says that the first time is an earlier one now.

With `--died` the command is told when the owner ended, and what may tell how: a descriptor of its
process, and how many processes the out-of-memory killer had killed before.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

__all__ = [
    "CLEAN_END",
    "DUE",
    "HEADER",
    "IGNORED_SIGNALS",
    "execute",
    "has_ended_cleanly",
    "main",
    "oom_kills",
    "wait_for_end",
]

DUE = 20
"""Where the times are in the note: two numbers of eight bytes, microseconds; 0 stands for never."""

HEADER = 36
"""How long the note is before anything is handed over."""

RETRY_SECONDS = 60
"""After how long it is tried again if the command has not noted when."""

CLEAN_END = b"bye\n"
"""The first bytes of the note after a clean end."""

CGROUPS = ("/proc/self/cgroup", "/sys/fs/cgroup")
"""What says in which cgroups this process is, and where they are mounted."""

IGNORED_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
"""Sent to every process when a terminal closes or a machine or a service is stopped: they end the
owner, and the guardian is needed after that."""


def has_ended_cleanly(note: int) -> bool:
    """Return whether the owner ended cleanly."""
    return os.pread(note, len(CLEAN_END), 0) == CLEAN_END


def execute(command: list[str], note: int) -> None:
    """Replace this process by a command, in the environment of the owner."""
    if os.fstat(note).st_size > HEADER:
        command = [*command, "--blobs", str(note)]
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    _fill_standard_streams()
    try:
        os.execv(command[0], command)  # noqa: S606 - no shell is the point
    except OSError as error:
        complaint = f"eventflow: {command[0]} cannot be started ({error}): what a killed process "
        os.write(2, f"{complaint}left is finished by `eventflow recover`.\n".encode())


def _fill_standard_streams() -> None:
    """Open the first three descriptors, so that no later file becomes one of them."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - standard error
        os.set_inheritable(opened, True)  # noqa: FBT003 - takes no keyword
    os.close(opened)


def oom_kills() -> tuple[str, int] | None:
    """Return of what it is known how many processes the out-of-memory killer has killed, and that.

    That is the cgroup of this process, and so of its owner; else the host.
    """
    for scope, path in (*_cgroup_files(), ("its host", "/proc/vmstat")):
        try:
            with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib is not imported
                counts = [line.split() for line in file if line.startswith("oom_kill ")]
            return scope, int(counts[0][1])
        except (OSError, ValueError, IndexError):
            continue

    return None


def _cgroup_files() -> list[tuple[str, str]]:
    """Return where the kernel counts that for this cgroup, in version 2 and 1 of cgroups."""
    try:
        with open(CGROUPS[0], encoding="utf-8") as file:  # noqa: PTH123 - the same
            lines = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return []
    files = {
        "": "{root}{path}/memory.events",
        "memory": "{root}/memory{path}/memory.oom_control",
    }

    return [
        ("its cgroup", files[of].format(root=CGROUPS[1], path=path.rstrip("/")))
        for _, of, path in (line for line in lines if len(line) == 3)  # noqa: PLR2004 - id:of:path
        if of in files
    ]


def _detach() -> None:
    """Become no child of the owner, which may wait for all of its children."""
    try:
        if os.fork():
            os._exit(0)
    except OSError:
        pass  # too many processes: stay a child


def _time(note: int, place: int) -> int:
    return int.from_bytes(os.pread(note, 8, place), "big")


def wait_for_end(note: int, command: list[str]) -> None:
    """Return when the owner has ended; until then deliver what it does not."""
    handled = 0
    while True:
        due = _time(note, DUE)
        time_due = due if due != handled else _time(note, DUE + 8)
        timeout = max(0.0, time_due / 1e6 - time.monotonic()) if time_due else None
        if select.select([0], [], [], timeout)[0]:
            if not os.read(0, 64):
                return
        elif due == _time(note, DUE):
            handled = due
            _deliver(command, note)


def _deliver(command: list[str], note: int) -> None:
    """Run the command for what is due, and wait for its end."""
    retry = int((time.monotonic() + RETRY_SECONDS) * 1e6)
    os.pwrite(note, retry.to_bytes(8, "big"), DUE + 8)
    try:
        child = os.fork()
    except OSError:
        return  # too many processes: tried again later
    if child == 0:
        execute([*command, "--lasting", str(note)], note)
        os._exit(1)
    os.waitpid(child, 0)


def main(note: int, command: list[str], owner: int | None = None) -> None:
    """Guard the process that has the other end of standard input.

    `owner` is a descriptor of that process, where the system has such.
    """
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if owner is not None:
        # No process that a hook starts has it.
        os.set_inheritable(owner, False)  # noqa: FBT003 - takes no keyword
    _detach()
    counted = oom_kills()
    wait_for_end(note, command)
    if not has_ended_cleanly(note):
        died = ["--died", str(time.time())]
        if owner is not None:
            os.set_inheritable(owner, True)  # noqa: FBT003 - the same
            died += ["--pidfd", str(owner)]
        if counted is not None:
            died += ["--oom-kills", str(counted[1])]
        execute([*command, *died], note)


if __name__ == "__main__":
    # An owner of an earlier version gives no descriptor of itself.
    main(int(sys.argv[1].partition(",")[0]), sys.argv[2:], *map(int, sys.argv[1].split(",")[1:]))
