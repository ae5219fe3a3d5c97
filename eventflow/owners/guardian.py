"""The process that outlives its owner: it sleeps until the owner ends, and finishes what it left.

It is run as a script, by path, in an interpreter without site-packages; what it imports before its
owner ends is what it costs all the time. On its standard input is a pipe into which nothing is
ever written: it ends with the owner. A file without a name, its *note*, tells whether that was a
clean end, and holds the hooks that were handed over by value. After an unclean one it becomes the
command that it was given, with `--blobs` and the note's descriptor at the end if there are any.
"""

from __future__ import annotations

import os
import signal
import sys

__all__ = ["BYE", "HEADER", "become", "is_bye", "main"]

HEADER = 4
"""How many bytes at the beginning of the note say what kind of end it was."""

BYE = b"bye\n"
"""What they are after a clean end."""

# Sent to everyone when a terminal closes or a machine or a service is stopped; the owner too ends
# then, and that is when a guardian is needed.
_DEAF_TO = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


def is_bye(note: int) -> bool:
    """Whether the owner ended cleanly."""
    return os.pread(note, HEADER, 0) == BYE


def become(command: list[str], note: int) -> None:
    """Be another program from here on, in the environment of the owner."""
    if os.fstat(note).st_size > HEADER:
        command = [*command, "--blobs", str(note)]
    for number in _DEAF_TO:
        signal.signal(number, signal.SIG_DFL)
    _fill_standard_streams()
    try:
        os.execv(command[0], command)  # noqa: S606 - no shell is the point
    except OSError as error:
        complaint = f"eventflow: {command[0]} cannot be started ({error}): what a killed process "
        os.write(2, f"{complaint}left is finished by `eventflow recover`.\n".encode())


def _fill_standard_streams() -> None:
    """Leave none of the first three descriptors to a file that is opened later."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - standard error
        os.set_inheritable(opened, True)  # noqa: FBT003 - takes no keyword
    os.close(opened)


def _part() -> None:
    """Be no child of the owner, which may wait for all of its children."""
    try:
        if os.fork():
            os._exit(0)
    except OSError:
        pass  # too many processes: a child will do


def main(note: int, command: list[str]) -> None:
    """Guard the process that has the other end of standard input."""
    for number in _DEAF_TO:
        signal.signal(number, signal.SIG_IGN)
    _part()
    while os.read(0, 64):
        pass
    if not is_bye(note):
        become(command, note)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
