"""Locks on files that the kernel drops when their process dies, however it dies.

A POSIX record lock belongs to the process: no fork inherits it, and it goes with the last sign
of life. It also goes when *any* descriptor of the file is closed in that process. Therefore every
such file is opened here and nowhere else, and never while this process has its lock.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from eventflow.journal import files
from eventflow.primitives.forks import in_children

__all__ = ["Lock", "is_free", "lock"]

if sys.platform == "win32":
    import msvcrt

    def _seize(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _is_seized(descriptor: int) -> bool:
        try:
            _seize(descriptor)
        except OSError:
            return True

        return False

else:
    import fcntl

    # The kernel's `struct flock`, and where its type of lock is in it.
    _LAYOUT: Final = "qqihh" if sys.platform == "darwin" else "hhqqi"
    _TYPE: Final = 3 if sys.platform == "darwin" else 0
    _FIELDS: Final = (0, 0, 0, fcntl.F_WRLCK, 0) if _TYPE else (fcntl.F_WRLCK, 0, 0, 0, 0)
    _QUESTION: Final = struct.pack(_LAYOUT, *_FIELDS)

    def _seize(descriptor: int) -> None:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _is_seized(descriptor: int) -> bool:
        # Asked, not tried: whoever wants the lock just now must not fail because of us.
        answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, _QUESTION)

        return bool(struct.unpack(_LAYOUT, answer)[_TYPE] != fcntl.F_UNLCK)


# A thread must not look at a file between another's opening and locking it.
_mutex = threading.RLock()
_held: Final[dict[files.Identity, Lock]] = {}


class Lock:
    """The lock of a file, held by this process until it lets go, and not by a forked child."""

    __slots__ = ("_descriptor", "_identity")

    def __init__(self, descriptor: int, identity: files.Identity) -> None:
        self._descriptor = descriptor
        self._identity = identity

    @property
    def is_held(self) -> bool:
        """Whether it is this process that holds it."""
        return _held.get(self._identity) is self

    def let_go(self) -> None:
        """Give the lock up. May be repeated; in a forked child it does nothing."""
        with _mutex:
            if self.is_held:
                del _held[self._identity]
                os.close(self._descriptor)


def lock(path: Path) -> Lock | None:
    """Take the lock of a file, made if it is not there; None if someone has it, we included.

    Raises:
        OSError: the file cannot be opened or made, or its file system has no locks.
    """
    with _mutex:
        if files.identity(path) in _held:
            return None
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _seize(descriptor)
        except (BlockingIOError, PermissionError):
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        found = os.fstat(descriptor)
        identity = found.st_dev, found.st_ino
        if files.identity(path) != identity:
            # Whoever had it before has deleted it or moved it away.
            os.close(descriptor)
            return None
        made = _held[identity] = Lock(descriptor, identity)

        return made


def is_free(path: Path) -> bool:
    """Whether nobody has the lock of a file; what cannot be asked is not free.

    A file that is not there is free.
    """
    with _mutex:
        if files.identity(path) in _held:
            return False
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError as error:
            return isinstance(error, FileNotFoundError)
        try:
            return not _is_seized(descriptor)
        except OSError:
            return False
        finally:
            os.close(descriptor)


def _forget() -> None:
    """Hold nothing in a forked child; closing there takes nothing from the parent."""
    global _mutex  # noqa: PLW0603 - the parent's may be held by a thread that is not here
    _mutex = threading.RLock()
    for one in _held.values():
        with suppress(OSError):
            os.close(one._descriptor)  # noqa: SLF001 - same module
    _held.clear()


in_children(_forget)
