"""How a process ended, as far as that can be known by one that is not its parent.

Its exit status, from the descriptor of the process that its guardian has: Linux 6.15 tells it of a
process that was waited for, any Linux of one that was not yet. What it noted itself: signals, and
an exit that left runs behind. Whether the out-of-memory killer was at work, or the host was
restarted. What nobody knows is said to be unknown.
"""

from __future__ import annotations

import os
import select
import signal
import struct
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from eventflow.journal.rows import OwnerRow
from eventflow.owners.guardian import oom_kills
from eventflow.owners.guarding import EXIT, read_endings
from eventflow.owners.process import boot_id, host_id
from eventflow.primitives.durations import in_words

__all__ = ["Ending", "Seen", "ending_of", "exit_status"]

END_SECONDS: Final = 1.0
"""How long to wait for the exit of a process whose connection has ended: that is its last but one
step."""

GET_INFO: Final = 0xC040FF0B
"""`PIDFD_GET_INFO` with a structure of 64 bytes: see `linux/pidfd.h`."""

INFO: Final = struct.Struct("=QQ11Ii")
"""That structure: the mask, the cgroup, ids of process and user, the exit status, of which
`os.waitpid` has the format."""

INFO_EXIT: Final = 1 << 3

STATUS_FIELD: Final = 49
"""The place of the exit status in `/proc/PID/stat`, counted from behind the name."""


class Seen(NamedTuple):
    """What a guardian has seen of the end of its owner.

    `pidfd` is the descriptor of the owner, `oom_kills` what `oom_kills` said while it lived.
    """

    at: datetime
    pidfd: int | None = None
    oom_kills: int | None = None


class Ending(NamedTuple):
    """How a process ended.

    `status` has the format of `os.waitpid`; `noted` is what the process has noted, each with its
    time in seconds since 1970; `oom_kills` is how many processes were killed meanwhile for want of
    memory, of this `oom_scope`. `lives_on` says that it has not ended: it has closed its files, or
    executes another program.
    """

    status: int | None = None
    noted: Sequence[tuple[str, float]] = ()
    oom_kills: int = 0
    oom_scope: str = ""
    is_host_restarted: bool = False
    lives_on: bool = False
    at: float | None = None

    def __str__(self) -> str:
        return f"{self._how()}{self._after_signal()}{self._oom()}"

    def _how(self) -> str:
        if self.status is not None:
            return f": {_words(self.status)}"
        if self.is_host_restarted:
            return ": its host was restarted meanwhile"
        if self.lives_on:
            return ": it executes another program now, or has closed its files"
        names = [name for name, _ in self.noted]
        if EXIT in names:
            return ": it exited before this run had ended"

        return "" if names else " without a word: it was killed, or its host stopped"

    def _after_signal(self) -> str:
        signals = [(name, at) for name, at in self.noted if name != EXIT]
        if not signals:
            return ""
        name, at = signals[0]
        after = "" if self.at is None else f" {in_words(max(0.0, self.at - at))}"

        return f",{after} after {name}"

    def _oom(self) -> str:
        # Only what no process can catch ends one that is out of memory.
        if not self.oom_kills or self.status not in {None, signal.SIGKILL}:
            return ""
        processes = "1 process" if self.oom_kills == 1 else f"{self.oom_kills} processes"

        return f"; while it lived, the out-of-memory killer killed {processes} of {self.oom_scope}"


def ending_of(folder: Path | None, owner: OwnerRow | None, seen: Seen | None) -> Ending:
    """Return how an owner ended, of which this may be the folder, and a guardian has seen this."""
    status, lives_on, kills, scope = None, False, 0, ""
    if seen is not None and seen.pidfd is not None and owner is not None:
        lives_on = not _has_ended(seen.pidfd)
        status = None if lives_on else exit_status(seen.pidfd, owner.pid)
    counted = oom_kills()
    if seen is not None and seen.oom_kills is not None and counted is not None:
        scope, kills = counted[0], max(0, counted[1] - seen.oom_kills)
    restarted = owner is not None and owner.host == host_id() and owner.boot != boot_id()

    return Ending(
        status=status,
        noted=() if folder is None else read_endings(folder),
        oom_kills=kills,
        oom_scope=scope,
        is_host_restarted=restarted,
        lives_on=lives_on,
        at=None if seen is None else seen.at.timestamp(),
    )


def exit_status(pidfd: int, pid: int) -> int | None:
    """Return the exit status of a process that has ended; None if the system does not tell it."""
    status = _of_zombie(pidfd, pid)

    # In this order: it may be waited for meanwhile.
    return _of_reaped(pidfd) if status is None else status


def _has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)

    return bool(poll.poll(END_SECONDS * 1000))


def _of_zombie(pidfd: int, pid: int) -> int | None:
    """Return the exit status of a process that nobody has waited for yet."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        # Now its id cannot have been another's.
        signal.pidfd_send_signal(pidfd, 0)
        return int(fields[STATUS_FIELD]) if fields[0] == "Z" else None
    except (OSError, ValueError, IndexError):
        return None


def _of_reaped(pidfd: int) -> int | None:
    """Return the exit status of a process that was waited for, from Linux 6.15 on."""
    import fcntl  # noqa: PLC0415 - not on every system

    info = bytearray(INFO.pack(INFO_EXIT, *[0] * 13))
    try:
        fcntl.ioctl(pidfd, GET_INFO, info, True)  # noqa: FBT003 - takes no keyword
    except OSError:
        return None
    mask, *_, status = INFO.unpack(info)

    return status if mask & INFO_EXIT else None


def _words(status: int) -> str:
    """Say in words what an exit status says."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"it exited with code {code}"
    try:
        return f"it was killed by {signal.Signals(-code).name} (signal {-code})"
    except ValueError:
        return f"it was killed by signal {-code}"
