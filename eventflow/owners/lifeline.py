"""The owner's side of its guardian: the process, and the connection that ends with the owner.

What the guardian must know is in its note. Sending only says that it is to look there: it neither
blocks nor raises a signal when the guardian is gone.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar, Final

from eventflow.owners.folders import DeadOwner
from eventflow.owners.note import Note, above_standard
from eventflow.owners.process import recovery_program
from eventflow.primitives import forks
from eventflow.settings import CREDENTIALS

__all__ = ["Lifeline", "recovery_command", "start_recovery"]

GUARDIAN: Final = Path(__file__).with_name("guardian.py")

_starting: Final[set[int]] = set()
"""The processes by which guardians were started, until they are reaped."""


def recovery_command(folder: Path | None, url: str, program: Sequence[str] = ()) -> list[str]:
    """Return the command that recovers the owner of a folder; empty if there is none.

    It is `python -m eventflow.recovery --owner <folder> --journal <url>`; without a folder it
    recovers every dead owner. A URL with a password is left out, as every user of the machine can
    read a command: `recovery_environment` has it. `program` is the recovery program of a dead owner
    other than this process.
    """
    usable = bool(program) and os.access(program[0], os.X_OK)
    program = program if usable else recovery_program()
    if not program:
        return []
    owner = () if folder is None else ("--owner", str(folder.absolute()))
    journal = () if CREDENTIALS.search(url) else ("--journal", _absolute(url))

    return [*program, *owner, *journal]


def recovery_environment(url: str) -> dict[str, str]:
    """Return the environment for that command: this process's, with the URL of the journal."""
    return {**os.environ, "EVENTFLOW_JOURNAL_URL": _absolute(url)}


def _absolute(url: str) -> str:
    """Make the path of a SQLite file absolute: the recovery runs in another folder."""
    scheme, separator, place = url.partition(":///")

    return f"{scheme}:///{os.path.abspath(place)}" if scheme == "sqlite" and separator else url  # noqa: PTH100 - a string


def start_recovery(folder: Path | None, url: str) -> str | None:
    """Start a process that recovers a dead owner; return the reason if that is impossible.

    Without a folder it recovers every dead owner. It is not a child of this process and holds none
    of its pipes: what hooks print there is shown only if standard error is a terminal.
    """
    program = () if folder is None else DeadOwner.read(folder).program
    command = recovery_command(folder, url, program)
    obstacle = _obstacle(command)
    if obstacle:
        return obstacle
    try:
        _start_without_owner(command, url)
    except Exception as error:  # noqa: BLE001 - the next process tries again, and no run may fail
        return f"the recovery cannot be started: {error}"

    return None


def _start_without_owner(command: Sequence[str], url: str) -> None:
    """Start a guardian whose owner has ended already."""
    note = Note()
    try:
        with open(os.devnull, "rb") as pipe:  # noqa: PTH123 - a name, not a path
            output = 2 if os.isatty(2) else subprocess.DEVNULL
            _start_guardian(pipe.fileno(), note.descriptor, command, url, output)
    finally:
        note.close()


def _obstacle(command: Sequence[str]) -> str | None:
    if os.name != "posix":
        return f"there is no guardian on {sys.platform}"

    return None if command else "there is no Python interpreter to start it with"


class Lifeline:
    """The connection of an owner to its guardian.

    `command` is what the guardian executes after an unclean end of the owner, by default the
    recovery of its folder. A method that fails returns the reason: no run fails because of it. In a
    forked child the connection is closed: the child must not keep its parent alive.
    """

    generation: ClassVar[int] = 0
    """How many recoveries have started one another, this process included."""

    def __init__(self, folder: Path, url: str, command: Sequence[str] | None = None) -> None:
        self._url = url
        self._command = self._recovery(folder, url) if command is None else list(command)
        self._forked = False
        self._lock = threading.RLock()
        self._pipe = -1
        self._let_go: deque[str] = deque()
        self.note: Note | None = None
        """The note that the guardian reads; None before the guardian is first started."""
        forks.watch(self)

    def _recovery(self, folder: Path, url: str) -> list[str]:
        command = recovery_command(folder, url)
        # Not in the environment, which a hook hands on to what it starts.
        generation = ["--generation", str(self.generation)] if self.generation else []

        return [*command, *generation] if command else []

    @property
    def is_alive(self) -> bool:
        """Whether the guardian is running."""
        with self._lock:
            _reap()
            if self._pipe < 0:
                return False
            poll = select.poll()
            poll.register(self._pipe, 0)

            # An error means that the other end is closed.
            return not poll.poll(0)

    def start(self) -> str | None:
        """Start the guardian unless it is running; return the reason if that is impossible.

        A guardian that was killed is replaced by a new one, which has all that was handed over.
        Does not wait until it is ready.
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
            except Exception as error:  # noqa: BLE001 - no run may fail because of it
                return f"the guardian cannot be started: {error}"

            return None

    def _start(self) -> None:
        self.disconnect()
        if self.note is None:
            self.note = Note()
        pair = socket.socketpair()
        read, write = (above_standard(each.detach()) for each in pair)
        try:
            with _descriptor_of_this_process() as owner:
                _start_guardian(read, self.note.descriptor, self._command, self._url, owner=owner)
        except BaseException:
            os.close(write)
            raise
        finally:
            os.close(read)
        self._pipe = write

    def hand_over(self, key: str, data: bytes) -> str | None:
        """Hand a packed hook to the guardian; return the reason if it cannot take it."""
        with self._lock:
            if self.note is None:
                return "there is no guardian"
            while self._let_go:
                self.note.remove(self._let_go.popleft())

            return self.note.write(key, data)

    def set_due(self, seconds: float | None, *, earlier: bool) -> None:
        """Have the guardian look at a time, by `time.monotonic`, whether this process delivers.

        If that is `earlier` than it was told before, it is told at once.
        """
        with self._lock:
            if self.note is None:
                return
            self.note.set_due(seconds)
            if earlier and self._pipe >= 0:
                with suppress(OSError), socket.socket(fileno=os.dup(self._pipe)) as connection:
                    connection.send(b"!", socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0))

    def let_go(self, key: str) -> None:
        """Have the room of a packed hook used again; called wherever garbage is collected."""
        # Waits for nothing: the thread may hold any lock.
        self._let_go.append(key)

    def dismiss(self) -> None:
        """Record a clean end, on which the guardian exits. Does not wait until it has."""
        with self._lock:
            if self.note is not None:
                self.note.end_cleanly()
            self.disconnect()
            self._close_note()
            _reap()

    def disconnect(self) -> None:
        """Close the pipe, by which the guardian learns that its owner has ended."""
        pipe, self._pipe = self._pipe, -1
        if pipe >= 0:
            with suppress(OSError):
                os.close(pipe)

    def _close_note(self) -> None:
        note, self.note = self.note, None
        if note is not None:
            note.close()

    # -- forks ------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Wait until no other thread opens a pipe."""
        self._lock.acquire()

    def after_fork(self, *, child: bool) -> None:
        """Go on in the parent; in the child, close everything."""
        if not child:
            self._lock.release()
            return
        self._lock = threading.RLock()
        self._forked = True
        _starting.clear()
        self.disconnect()
        self._close_note()


@contextmanager
def _descriptor_of_this_process() -> Iterator[int | None]:
    """Open a descriptor of this process, by which its exit is told; None where there is none."""
    try:
        opened = above_standard(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        yield None  # no Linux, or one before 5.3
        return
    try:
        yield opened
    finally:
        os.close(opened)


def _start_guardian(
    pipe: int,
    note: int,
    command: Sequence[str],
    url: str,
    output: int | None = None,
    *,
    owner: int | None = None,
) -> None:
    """Start a guardian with a pipe to its owner, a note, and a descriptor of the owner itself.

    The process that is started here exits as soon as the guardian is its own process.
    """
    _reap()
    if not GUARDIAN.is_file():
        raise FileNotFoundError(f"{GUARDIAN} is not a file: it cannot be run from an archive")

    kept = (note,) if owner is None else (note, owner)
    # Isolated and without site-packages: half the time, half the memory. In a session of its own:
    # neither Ctrl-C nor a signal to the owner's process group reaches it.
    starting = subprocess.Popen(  # noqa: S603 - no shell
        [sys.executable, "-I", "-S", str(GUARDIAN), ",".join(map(str, kept)), *command],
        stdin=pipe,
        stdout=output,
        stderr=output,
        env=recovery_environment(url),
        pass_fds=kept,
        start_new_session=True,
    )
    # Reaped below, at a later time: without this `Popen` warns that it was not waited for.
    starting.returncode = 0
    _starting.add(starting.pid)


def _reap() -> None:
    """Reap the processes by which guardians were started, as far as they have ended."""
    for pid in list(_starting):
        try:
            ended, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            ended = pid  # the program has waited for all of its children
        if ended:
            _starting.discard(pid)
