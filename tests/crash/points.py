"""Named points in the life of a process, at each of which it can be killed.

The package has no code for them: its system calls (for the file of the spool, the connection to
SQLite, the pages that SQLite writes) are wrapped from outside, and so are some of its methods.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import signal
import sqlite3
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from eventflow.journal import recorder, spool
from eventflow.journal.stores import sqlite
from eventflow.owners import folders
from eventflow.owners.lifeline import Lifeline
from eventflow.owners.session import OwnerSession
from eventflow.recovery import owner
from eventflow.recovery.finishing import Finisher
from eventflow.runs import run

_counts: defaultdict[str, itertools.count[int]] = defaultdict(lambda: itertools.count(1))
_target: list[tuple[str, int]] = []
_before_death: list[Callable[[], object]] = []


def arm(target: tuple[str, int] | None, before_death: Callable[[], object] | None = None) -> None:
    """Wrap all points, and kill this process at the target; without a target, only count.

    `before_death` is called before that.
    """
    _target[:] = [] if target is None else [target]
    _before_death[:] = [] if before_death is None else [before_death]
    _wrap_methods()
    vars(spool)["os"] = _Spooling()
    vars(sqlite)["sqlite3"] = _Databases()
    _wrap_pages()


def counts() -> dict[str, int]:
    """Return how often each point was passed."""
    return {name: int(repr(count)[6:-1]) - 1 for name, count in list(_counts.items())}


def passing(name: str) -> None:
    """Pass a point: kill this process if it is the target."""
    if _is_target(name):
        die()


def _is_target(name: str) -> bool:
    number = next(_counts[name])

    return bool(_target) and _target[0] == (name, number)


def die() -> NoReturn:
    """Kill this process."""
    for call in _before_death:
        call()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("This process is dead.")


# -- methods -------------------------------------------------------------------------------------


def _wrap_methods() -> None:
    for holder, name, label in (
        (run.Run, "enter", "enter"),
        (recorder.Recorder, "record", "record"),
        (folders, "lock", "owner.lock"),
        (folders, "_write", "owner.describe"),
        (folders, "_delete", "owner.delete"),
        (folders.LockedFolder, "remove", "owner.end"),
        (Lifeline, "start", "guardian.start"),
        (Lifeline, "hand_over", "guardian.hand-over"),
        (Lifeline, "dismiss", "guardian.bye"),
        (OwnerSession, "close", "close"),
        (spool.Segment, "drop", "segment.drop"),
        (owner, "commit_spool", "recovery.absorb"),
        (Finisher, "finish", "recovery.finish"),
    ):
        setattr(holder, name, _wrapped(getattr(holder, name), label))


def _wrapped(plain: Callable[..., Any], label: str) -> Callable[..., Any]:
    @functools.wraps(plain)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        passing(f"{label} before")
        result = plain(*args, **kwargs)
        passing(f"{label} after")
        return result

    return wrapper


# -- the spool -----------------------------------------------------------------------------------


class _Module:
    """A module with some of its functions replaced."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class _Spooling(_Module):
    """The module `os` for the spool: a write can end in its middle."""

    def __init__(self) -> None:
        super().__init__(os)

    def open(self, *args: Any) -> int:
        passing("spool.open before")
        descriptor = os.open(*args)
        passing("spool.open after")

        return descriptor

    def write(self, descriptor: int, data: bytes) -> int:
        passing("spool.write before")
        if _is_target("spool.write half"):
            os.write(descriptor, data[: len(data) // 2])
            die()
        if _is_target("spool.write but for the newline"):
            os.write(descriptor, data[:-1])
            die()
        count = os.write(descriptor, data)
        passing("spool.write after")

        return count


# -- SQLite --------------------------------------------------------------------------------------


class _Databases(_Module):
    """The module `sqlite3` for the journal."""

    def __init__(self) -> None:
        super().__init__(sqlite3)

    def connect(self, *args: Any, **kwargs: Any) -> sqlite3.Connection:
        return sqlite3.connect(*args, factory=_Connection, **kwargs)


class _Connection(sqlite3.Connection):
    """A connection with points between the statements of a transaction that writes."""

    _writes = False

    def execute(self, text: str, *args: Any) -> sqlite3.Cursor:
        verb = text.split(maxsplit=1)[0]
        self._writes = self._writes or text == "BEGIN IMMEDIATE"
        if self._writes:
            passing(f"sqlite {verb} before")
        cursor = super().execute(text, *args)
        if self._writes and verb in {"BEGIN", "COMMIT"}:
            passing(f"sqlite {verb} after")
        self._writes = self._writes and verb != "COMMIT"

        return cursor


_PWRITE_TAKES = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64)
_PWRITE = ctypes.CFUNCTYPE(ctypes.c_ssize_t, *_PWRITE_TAKES)


class _Vfs(ctypes.Structure):
    """SQLite's `struct sqlite3_vfs`, up to `xSetSystemCall`."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("version", "size", "longest")),
        *((name, ctypes.c_void_p) for name in ("next", "name", "data")),
        *((f"method_{number}", ctypes.c_void_p) for number in range(13)),
        (
            "set_system_call",
            ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p),
        ),
    )


def _wrap_pages() -> None:
    """Replace the `pwrite` that SQLite writes its pages with, where its library is accessible."""
    import _sqlite3

    library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
    find = getattr(library, "sqlite3_vfs_find", None)
    if find is None:
        return
    find.restype = ctypes.POINTER(_Vfs)
    vfs = find(None)
    # Each system has one of the two.
    for name in (b"pwrite", b"pwrite64"):
        vfs.contents.set_system_call(ctypes.addressof(vfs.contents), name, _write_page)


_libc = ctypes.CDLL(None)
_libc.pwrite.restype = ctypes.c_ssize_t
_libc.pwrite.argtypes = _PWRITE_TAKES


@_PWRITE
def _write_page(descriptor: int, data: int, length: int, place: int) -> int:
    suffix = Path(f"/proc/self/fd/{descriptor}").readlink().suffix
    label = "log" if suffix.endswith("-wal") else "file"
    if _is_target(f"sqlite write to the {label} half"):
        _libc.pwrite(descriptor, data, length // 2, place)
        die()

    return int(_libc.pwrite(descriptor, data, length, place))
