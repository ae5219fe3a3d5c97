"""The file of a SQLite journal: creating it, identifying it, setting it aside."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from eventflow.primitives.loggers import get_logger
from eventflow.primitives.private_files import make_folder, open_file, refuse_foreign

__all__ = ["Identity", "identity", "last_commit", "make", "set_aside"]

Identity: TypeAlias = tuple[int, int]
"""Distinguishes a file from another one of the same name."""


def make(path: Path) -> None:
    """Create the file, readable by its user only, unless it exists.

    Never opens an existing file: closing it again would drop SQLite's locks on it.

    Raises:
        OSError: it cannot be created, or belongs to another user.
    """
    make_folder(path.parent)
    with suppress(FileExistsError):
        os.close(open_file(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    refuse_foreign(path)


def identity(path: Path) -> Identity | None:
    """Return the identity of the file of that name; None if there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - after every commit, and Path is slow
    except OSError:
        return None

    return status.st_dev, status.st_ino


def last_commit(path: Path) -> tuple[int, int] | None:
    """Return what is another one whenever somebody has committed to a journal."""
    try:
        status = os.stat(f"{path}-wal")  # noqa: PTH116 - a name, not a path
    except OSError:
        return None

    return status.st_mtime_ns, status.st_size


def set_aside(path: Path, unusable: Identity | None, damage: str | None) -> None:
    """Rename an unusable file and the files beside it, unless another process has done so.

    Without damage it is a journal of an older version.
    """
    with _locked(path):
        if unusable is None or identity(path) != unusable:
            return
        suffix = "old" if damage is None else "corrupt"
        aside = f"{path}.{suffix}-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"
        # The log first: a new file must not be opened with the log of the old one.
        for suffix in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                os.rename(f"{path}{suffix}", f"{aside}{suffix}")  # noqa: PTH104 - names, not paths
    why = "was made by an older version" if damage is None else f"is damaged ({damage})"
    get_logger("journal").warning(
        f"The journal {path} {why}. It was set aside as {aside}, and a new one was begun; what the "
        "old one held is not in the new one."
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes from setting the same file aside."""
    if sys.platform == "win32":
        yield
        return
    import fcntl  # noqa: PLC0415 - not there on every system

    try:
        descriptor = open_file(path, os.O_RDONLY)
    except FileNotFoundError:
        yield
        return
    try:
        # On a file system without locks, the identity of the file has to do.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
