"""The owner's side of its guardian: the pipe that ends with the owner, and what is handed over.

Nothing is ever written into the pipe, so that nothing here can block, nor raise a signal when the
guardian is gone. Hooks by value, and that the end was a clean one, are written into the *note*: a
file without a name, in memory where the system can, which the guardian has open as well. Whatever
holds it is gone when both processes and the recovery are.

The note: four bytes that are `bye` and a newline after a clean end; then, for each hook, the
lengths of key and blob (four bytes each, big-endian), the key in UTF-8, the blob. What the owner
was killed in the middle of is at the end, shorter than it says, and does not count.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from eventflow.owners.folders import DeadOwner
from eventflow.owners.process import recovery_program
from eventflow.primitives import forks
from eventflow.settings import CREDENTIALS

__all__ = ["Lifeline", "read_blobs", "recovery_command", "start_recovery"]

GUARDIAN: Final = Path(__file__).with_name("guardian.py")

BLOB_BYTES: Final = 2**20
"""How large one hook by value may be."""

TOTAL_BYTES: Final = 16 * 2**20
"""How much may be handed over in all."""

BYE: Final = b"bye\n"
HEADER: Final = bytes(len(BYE))
LENGTH: Final = 4
FIRST_FREE: Final = 3
"""Below are the standard streams: what is written to those must not end up anywhere else."""

_starters: Final[set[int]] = set()


def recovery_command(folder: Path | None, url: str, program: Sequence[str] = ()) -> list[str]:
    """Give the command that recovers the owner of a folder; empty: there is none.

    It is `python -m eventflow.recovery --owner <folder> --journal <url>`; without a folder for
    whatever there is to recover. A URL with a password is left out, for every user of the machine
    can read a command: `recovery_environment` has it. `program` is the dead owner's own, if that
    is not this process.
    """
    usable = bool(program) and os.access(program[0], os.X_OK)
    found = tuple(program) if usable else recovery_program()
    if not found:
        return []
    owner = () if folder is None else ("--owner", str(folder.absolute()))
    journal = () if CREDENTIALS.search(url) else ("--journal", _settled(url))

    return [*found, *owner, *journal]


def recovery_environment(url: str) -> dict[str, str]:
    """Give the environment for that command: this process's, with the URL of the journal."""
    return {**os.environ, "EVENTFLOW_JOURNAL_URL": _settled(url)}


def _settled(url: str) -> str:
    """Make the path of a SQLite file absolute: recovery goes to another folder."""
    scheme, separator, place = url.partition(":///")

    return f"{scheme}:///{os.path.abspath(place)}" if scheme == "sqlite" and separator else url  # noqa: PTH100 - a string


def start_recovery(folder: Path | None, url: str) -> str | None:
    """Have a dead owner recovered by a process of its own; gives the reason if that cannot be.

    Without a folder, whatever there is to recover is. The process is nobody's child, and holds no
    pipe of this one: what its hooks print is seen only where standard error is a terminal.
    """
    program = () if folder is None else DeadOwner.read(folder).program
    command = recovery_command(folder, url, program)
    obstacle = _obstacle(command)
    if obstacle:
        return obstacle
    try:
        _recover(command, url)
    except Exception as error:  # noqa: BLE001 - the next process tries again; no run may fail for it
        return f"the recovery cannot be started: {error}"

    return None


def _recover(command: Sequence[str], url: str) -> None:
    """Start a guardian whose owner has ended already."""
    note = _anonymous()
    try:
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a name, not a path
            out = 2 if os.isatty(2) else subprocess.DEVNULL
            _starters.add(_started(nothing.fileno(), note, command, url, out))
    finally:
        os.close(note)


def _obstacle(command: Sequence[str]) -> str | None:
    if os.name != "posix":
        return f"there is no guardian on {sys.platform}"

    return None if command else "there is no Python interpreter to start it with"


class Lifeline:
    """The tie between an owner and its guardian.

    `command` is what the guardian becomes after an unclean end of the owner, by default the
    recovery of its folder. Where something cannot be done the reason is given: no run fails
    because of it. In a forked child the line is cut: the child is no sign of its parent's life.
    """

    def __init__(self, folder: Path, url: str, command: Sequence[str] | None = None) -> None:
        self._url = url
        self._command = recovery_command(folder, url) if command is None else list(command)
        self._forked = False
        self._lock = threading.RLock()
        self._clear()
        forks.watch(self)

    def _clear(self) -> None:
        self._pipe = -1
        self._note = -1
        self._end = len(HEADER)
        # Of each key the hash of its last blob.
        self._handed: dict[str, int] = {}

    @property
    def is_alive(self) -> bool:
        """Whether the guardian is there."""
        with self._lock:
            _reap()
            if self._pipe < 0:
                return False
            poll = select.poll()
            poll.register(self._pipe, 0)

            # An error means: nobody has the other end.
            return not poll.poll(0)

    def start(self) -> str | None:
        """Start the guardian, if it is not there; does not wait until it is ready.

        One that was killed is started anew, with all that was handed over. Gives the reason if
        there can be none.
        """
        with self._lock:
            if self.is_alive:
                return None
            if self._forked:
                return "the guardian is that of the parent process"
            obstacle = _obstacle(self._command)
            if obstacle:
                return obstacle
            try:
                self._start()
            except Exception as error:  # noqa: BLE001 - whatever it is, no run may fail for it
                return f"the guardian cannot be started: {error}"

            return None

    def _start(self) -> None:
        self._cut()
        if self._note < 0:
            self._note = _anonymous()
        read, write = (_above_standard(one) for one in os.pipe())
        try:
            _starters.add(_started(read, self._note, self._command, self._url))
        except BaseException:
            os.close(write)
            raise
        finally:
            os.close(read)
        self._pipe = write

    def hand_over(self, key: str, blob: bytes) -> str | None:
        """Give the guardian a hook by value; gives the reason if it does not take it.

        A later blob takes the place of an earlier one with its key; the same is not written again.
        """
        name = key.encode("utf-8", "surrogatepass")
        size = len(name) + len(blob)
        with self._lock:
            if self._handed.get(key) == hash(blob):
                return None
            if self._note < 0:
                return "there is no guardian"
            if size > BLOB_BYTES:
                return f"its {size} bytes are more than the {BLOB_BYTES} that may be handed over"
            if self._end + size > TOTAL_BYTES:
                return f"with its {size} bytes it would be more than {TOTAL_BYTES} in all"
            problem = self._append(name, blob)
            if problem is None:
                self._handed[key] = hash(blob)

            return problem

    def _append(self, name: bytes, blob: bytes) -> str | None:
        frame = b"".join((_length(name), _length(blob), name, blob))
        try:
            written = os.pwrite(self._note, frame, self._end)
            if written < len(frame):
                os.ftruncate(self._note, self._end)
                return "there is not enough memory for it"
        except OSError as error:
            return f"it cannot be written down: {error}"
        self._end += len(frame)

        return None

    def bye(self) -> None:
        """Let the guardian go: all is done. It is gone in a moment, which is not waited for."""
        with self._lock:
            if self._note >= 0:
                with suppress(OSError):
                    os.pwrite(self._note, BYE, 0)
            self._cut()
            self._close_note()
            self._clear()
            _reap()

    def _cut(self) -> None:
        pipe, self._pipe = self._pipe, -1
        if pipe >= 0:
            with suppress(OSError):
                os.close(pipe)

    def _close_note(self) -> None:
        note, self._note = self._note, -1
        if note >= 0:
            with suppress(OSError):
                os.close(note)

    # -- forks ------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Have no pipe that is just being made."""
        self._lock.acquire()

    def after_fork(self, *, child: bool) -> None:
        """Go on in the parent; in the child, let go of everything."""
        if not child:
            self._lock.release()
            return
        self._lock = threading.RLock()
        self._forked = True
        _starters.clear()
        self._cut()
        self._close_note()
        self._clear()


def read_blobs(note: int) -> dict[str, bytes]:
    """Give what was handed over, by key; of each key the last blob counts.

    `note` is the descriptor that `--blobs` names; it stays open.
    """
    found: dict[str, bytes] = {}
    place, size = len(HEADER), os.fstat(note).st_size
    data = _all(note, size)
    while place + 2 * LENGTH <= size:
        key = place + 2 * LENGTH
        blob = key + int.from_bytes(data[place : place + LENGTH])
        place = blob + int.from_bytes(data[place + LENGTH : key])
        if place <= size:
            found[data[key:blob].decode("utf-8", "surrogatepass")] = data[blob:place]

    return found


def _all(note: int, size: int) -> bytes:
    parts: list[bytes] = []
    read = 0
    while read < size and (part := os.pread(note, size - read, read)):
        parts.append(part)
        read += len(part)

    return b"".join(parts)


def _length(part: bytes) -> bytes:
    return len(part).to_bytes(LENGTH)


def _anonymous() -> int:
    """Make a note: in memory, or a file that has no name any more."""
    if hasattr(os, "memfd_create"):
        note = os.memfd_create("eventflow", os.MFD_CLOEXEC)
    else:
        import tempfile  # noqa: PLC0415 - slow to import, and only macOS needs it

        with tempfile.TemporaryFile() as file:
            note = os.dup(file.fileno())
    note = _above_standard(note)
    os.pwrite(note, HEADER, 0)

    return note


def _above_standard(descriptor: int) -> int:
    if descriptor >= FIRST_FREE:
        return descriptor
    import fcntl  # noqa: PLC0415 - not there on every system

    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE)
    os.close(descriptor)

    return moved


def _started(read: int, note: int, command: Sequence[str], url: str, out: int | None = None) -> int:
    """Start a guardian that reads from one descriptor and has another as its note.

    Gives the id of a process that ends as soon as the guardian is there.
    """
    _reap()
    if not GUARDIAN.is_file():
        raise FileNotFoundError(f"{GUARDIAN} is not a file: it cannot be run from an archive")

    # Isolated and without site-packages: half the time, half the memory. In a session of its
    # own: neither Ctrl-C nor the end of the owner's process group reach it.
    started = subprocess.Popen(  # noqa: S603 - no shell
        [sys.executable, "-I", "-S", str(GUARDIAN), str(note), *command],
        stdin=read,
        stdout=out,
        stderr=out,
        env=recovery_environment(url),
        pass_fds=(note,),
        start_new_session=True,
    )
    # Reaped below, when it suits us: nobody shall be warned that it was not waited for.
    started.returncode = 0

    return started.pid


def _reap() -> None:
    """Let go of those processes by which a guardian was started; they end at once."""
    for pid in list(_starters):
        try:
            ended, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            ended = pid  # somebody waited for all children of this process
        if ended:
            _starters.discard(pid)
