"""The process that outlives its owner: it sleeps until the owner ends, then recovers it if need be.

It is run as a script, by path, in an interpreter without site-packages; what it imports before its
owner ends stays in memory all the time. Its standard input is a pipe into which nothing is ever
written, and which reaches its end when the owner ends. A file without a name, the *note*, says
whether that was a clean end, and holds the hooks that were handed over. After an unclean end the
guardian executes the command that it was given, with `--blobs` and the descriptor of the note
appended if there are hooks in it.
"""

from __future__ import annotations

import os
import signal
import sys

__all__ = ["CLEAN_END", "HEADER", "IGNORED_SIGNALS", "execute", "has_ended_cleanly", "main"]

HEADER = 20
"""How long the note is before anything is handed over."""

CLEAN_END = b"bye\n"
"""The first bytes of the note after a clean end."""

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


def _detach() -> None:
    """Become no child of the owner, which may wait for all of its children."""
    try:
        if os.fork():
            os._exit(0)
    except OSError:
        pass  # too many processes: stay a child


def main(note: int, command: list[str]) -> None:
    """Guard the process that has the other end of standard input."""
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    _detach()
    while os.read(0, 64):
        pass
    if not has_ended_cleanly(note):
        execute(command, note)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
