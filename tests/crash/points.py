"""Named points in the life of a process, at each of which it can be killed.

The package has no code for them: what it stores in mapped segments, its system calls (for the files
of segments, the connection to SQLite, the pages that SQLite writes) and some of its methods are
wrapped from outside.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import signal
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator
from mmap import mmap
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from eventflow.journal import recorder
from eventflow.journal.records import CONTENT
from eventflow.journal.stores import sqlite
from eventflow.journal.wal import appender, segments, spool
from eventflow.owners import folders, leftovers
from eventflow.owners.lifeline import Lifeline
from eventflow.owners.session import OwnerSession
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
    for module in (spool, segments):
        vars(module).update(os=_Files(), mmap=_Mapping)
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
        (folders.LockedFolder, "leave", "owner.leave"),
        (Lifeline, "start", "guardian.start"),
        (Lifeline, "hand_over", "guardian.hand-over"),
        (Lifeline, "dismiss", "guardian.bye"),
        (OwnerSession, "leave", "leave"),
        (OwnerSession, "close", "close"),
        (appender.Appender, "_next_segment", "segment.next"),
        (segments.Segment, "take", "group.take"),
        (segments.Segment, "advance", "group.advance"),
        (segments.Segment, "begin", "segment.begin"),
        (segments.Segment, "clear", "segment.clear"),
        (segments.Segment, "close", "segment.close"),
        (spool.Spool, "take", "spool.take"),
        (spool.Spool, "_open", "spool.open"),
        (spool.Spool, "give_back", "spool.give-back"),
        (leftovers, "commit_spool", "recovery.absorb"),
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


# -- segments ------------------------------------------------------------------------------------


class _Mapping(mmap):
    """A mapped segment: what is stored in it can end in its middle, before it is copied as well."""

    def __getitem__(self, place: Any) -> Any:
        if not isinstance(place, slice):
            return super().__getitem__(place)
        passing("segment.copy before")

        return super().__getitem__(place)

    def __setitem__(self, place: Any, value: Any) -> None:
        label = _what_is_stored(place, value)
        passing(f"{label} before")
        if isinstance(place, slice):
            start = place.start or 0
            for name, length in _parts(value):
                if _is_target(f"{label} {name}"):
                    super().__setitem__(slice(start, start + length), value[:length])
                    die()
        super().__setitem__(place, value)
        passing(f"{label} after")


def _what_is_stored(place: Any, value: Any) -> str:
    if not isinstance(place, slice):
        return "acknowledgement.byte"
    if (place.start or 0) < segments.HEAD:
        return "segment.head"
    if len(value) >= CONTENT:
        return "record.store" if value[0] else "zeros.store"

    return "acknowledgement.time"


class _Module:
    """A module with some of its functions replaced."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class _Files(_Module):
    """The module `os` for the files of segments: a write can end in its middle."""

    def __init__(self) -> None:
        super().__init__(os)
        for name in ("posix_fallocate", "rename", "fdatasync"):
            setattr(self, name, _wrapped(getattr(os, name), f"file.{name}"))

    def pwrite(self, descriptor: int, data: bytes, place: int) -> int:
        passing("file.pwrite before")
        for name, length in _parts(data):
            if _is_target(f"file.pwrite {name}"):
                os.pwrite(descriptor, data[:length], place)
                die()
        count = os.pwrite(descriptor, data, place)
        passing("file.pwrite after")

        return count


def _parts(data: bytes) -> Iterator[tuple[str, int]]:
    yield "half", len(data) // 2
    yield "but for the last byte", len(data) - 1


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
