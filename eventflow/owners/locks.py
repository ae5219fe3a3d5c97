"""Locks on files that the kernel releases when their process dies, however it dies.

A POSIX record lock belongs to the process: a fork does not inherit it, and it ends with the
process. It also ends when *any* descriptor of the file is closed in that process. Therefore such a
file is opened only here, and never while this process holds its lock.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from eventflow.journal.wal import files
from eventflow.primitives.forks import in_children
from eventflow.primitives.private_files import open_file

__all__ = ["Lock", "holder", "is_free", "lock"]

if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _holder(descriptor: int) -> int | None:
        try:
            _try_lock(descriptor)
        except OSError:
            return 0  # Windows does not tell

        return None

else:
    import fcntl

    # The kernel's `struct flock`, and the position of the lock type in it.
    _LAYOUT: Final = "qqihh" if sys.platform == "darwin" else "hhqqi"
    _TYPE: Final = 3 if sys.platform == "darwin" else 0
    _PID: Final = 2 if sys.platform == "darwin" else 4
    _FIELDS: Final = (0, 0, 0, fcntl.F_WRLCK, 0) if _TYPE else (fcntl.F_WRLCK, 0, 0, 0, 0)
    _QUERY: Final = struct.pack(_LAYOUT, *_FIELDS)

    def _try_lock(descriptor: int) -> None:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _holder(descriptor: int) -> int | None:
        # Queried, not taken: another process that tries to take it now must not fail.
        reply = struct.unpack(_LAYOUT, fcntl.fcntl(descriptor, fcntl.F_GETLK, _QUERY))

        return None if reply[_TYPE] == fcntl.F_UNLCK else int(reply[_PID])


# A thread must not open a file that another is about to lock.
_mutex = threading.RLock()
_held: Final[dict[files.Identity, Lock]] = {}


class Lock:
    """The lock of a file, held by this process until it is released, and not by a forked child."""

    __slots__ = ("_descriptor", "_identity")

    def __init__(self, descriptor: int, identity: files.Identity) -> None:
        self._descriptor = descriptor
        self._identity = identity

    @property
    def is_held(self) -> bool:
        """Whether this process holds it."""
        return _held.get(self._identity) is self

    def release(self) -> None:
        """Release the lock. May be repeated; in a forked child it does nothing."""
        with _mutex:
            if self.is_held:
                del _held[self._identity]
                os.close(self._descriptor)


def lock(path: Path) -> Lock | None:
    """Lock a file, created if it is missing; return None if it is locked, also by this process.

    Raises:
        OSError: the file cannot be opened or created, or its file system has no locks.
    """
    with _mutex:
        if files.identity(path) in _held:
            return None
        descriptor = open_file(path, os.O_RDWR | os.O_CREAT)
        try:
            _try_lock(descriptor)
        except (BlockingIOError, PermissionError):
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        stat = os.fstat(descriptor)
        identity = stat.st_dev, stat.st_ino
        if files.identity(path) != identity:
            # The previous holder has deleted or moved the file meanwhile.
            os.close(descriptor)
            return None
        held = _held[identity] = Lock(descriptor, identity)

        return held


def is_free(path: Path) -> bool:
    """Return whether no process holds the lock of a file.

    A missing file is free; one that cannot be opened or queried is not.
    """
    return holder(path) is None


def holder(path: Path) -> int | None:
    """Return the id of the process that holds the lock of a file; 0 if not known, None if free."""
    with _mutex:
        if files.identity(path) in _held:
            return os.getpid()
        try:
            descriptor = open_file(path, os.O_RDWR)
        except OSError as error:
            return None if isinstance(error, FileNotFoundError) else 0
        try:
            return _holder(descriptor)
        except OSError:
            return 0
        finally:
            os.close(descriptor)


def _drop_all() -> None:
    """Hold nothing in a forked child; closing a descriptor there releases no lock."""
    global _mutex  # noqa: PLW0603 - a thread of the parent may hold it
    _mutex = threading.RLock()
    for held in _held.values():
        with suppress(OSError):
            os.close(held._descriptor)  # noqa: SLF001 - same module
    _held.clear()


in_children(_drop_all)
