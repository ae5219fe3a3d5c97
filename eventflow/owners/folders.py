"""The owners of this host: each has a folder, and is alive as long as the folder's lock is held.

    <owners>/<id>/lock           held by the owner, or by the process that recovers it
                  owner.json     the owner and how it was started
                  segment-*      what is not in the journal yet; each begins with the owner again

A folder is complete before it is renamed to its own name, and is renamed before it is deleted: one
whose name begins with a dot is being created or deleted, and is litter if it stays. Neither a
process id nor a boot id shows that an owner is alive: both may be used again.
"""

from __future__ import annotations

import functools
import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from uuid import NAMESPACE_URL, uuid5

from eventflow.journal.rows import OwnerRow
from eventflow.journal.wal.spool import described, has_records
from eventflow.owners.locks import Lock, holder, is_free, lock
from eventflow.owners.process import host_id, recovery_program
from eventflow.primitives.loggers import get_logger
from eventflow.primitives.private_files import (
    foreign_owner,
    make_folder,
    open_file,
    refusal,
    refuse_foreign,
)
from eventflow.settings import CREDENTIALS, EVENTFLOW_HOME

__all__ = [
    "ENDED",
    "RECOVERING",
    "DeadOwner",
    "LockedFolder",
    "dead",
    "ended",
    "is_of_this_host",
    "is_recovery_at_work",
    "owners_folder",
]

LOCK: Final = "lock"
DESCRIPTION: Final = "owner.json"
CREATED_PREFIX: Final = ".new-"
DELETED_PREFIX: Final = ".old-"

ENDED: Final = "ended"
"""The file in the folder of an owner that has ended cleanly, and has left its records there."""

RECOVERING: Final = ".recovering"
"""The file beside the folders of the owners that is locked while all dead owners are recovered."""

LITTER_SECONDS: Final = 60
"""After how long an incomplete folder counts as left by a process that died."""

TRIES: Final = 3
"""How often a process creates its folder, if it is so slow that others take it for litter."""


def owners_folder(url: str) -> Path | None:
    """Return the folder of the owners of the journal at a URL; None if it needs none."""
    scheme, _, place = url.partition("://")
    if scheme == "sqlite":
        # As SQLite itself does: one folder for a file, by whatever name it is opened.
        return Path(f"{os.path.realpath(place[1:])}-owners")

    if scheme != "postgresql":
        return None
    # One folder for each database: what is spooled for one must not be committed to another.
    name = uuid5(NAMESPACE_URL, CREDENTIALS.sub("", url).replace("://@", "://")).hex[:12]

    return EVENTFLOW_HOME.value() / f"owners-{name}"


class LockedFolder:
    """The folder of an owner, locked by this process: its own, or that of a dead owner.

    As a context manager it releases the lock at the end of the block. A forked child does not hold
    the lock: its calls have no effect.
    """

    def __init__(self, path: Path, lock: Lock, description: str = "") -> None:
        self.path = path
        self.description = description
        """The content of `owner.json`, if the folder was created here."""
        self._lock = lock

    @classmethod
    def create(cls, owners: Path, owner: OwnerRow) -> Self:
        """Create and lock the folder of this process as an owner.

        Raises:
            OSError: it cannot be created, belongs to another user, or the file system has no locks.
        """
        make_folder(owners)
        refuse_foreign(owners)
        for _ in range(TRIES - 1):
            with suppress(FileNotFoundError):
                return cls._create(owners, owner)

        return cls._create(owners, owner)

    @classmethod
    def _create(cls, owners: Path, owner: OwnerRow) -> Self:
        incomplete, path = owners / f"{CREATED_PREFIX}{owner.id}", owners / owner.id
        incomplete.mkdir(mode=0o700, exist_ok=True)
        try:
            held = lock(incomplete / LOCK)
        except OSError:
            # Nobody else could delete it, which needs the lock.
            _delete(incomplete)
            raise
        if held is None:
            raise FileNotFoundError(f"{incomplete} was taken for litter")
        try:
            description = _description(owner)
            _write(incomplete / DESCRIPTION, description)
            incomplete.rename(path)
        except BaseException:
            _delete(incomplete)
            held.release()
            raise

        return cls(path, held, description)

    @property
    def id(self) -> str:
        """The owner's id."""
        return self.path.name

    @property
    def is_held(self) -> bool:
        """Whether this process still holds the lock."""
        return self._lock.is_held

    def remove(self) -> bool:
        """Delete the folder and release the lock; return whether the folder is gone.

        With records in its spool it is not deleted, so that it will be recovered.
        """
        if not self.is_held:
            return False
        try:
            return not _has_records(self.path) and _remove(self.path)
        finally:
            self.release()

    def leave(self) -> bool:
        """Release the lock, for others to take in what is here; return False if they cannot."""
        try:
            os.close(open_file(self.path / ENDED, os.O_CREAT | os.O_WRONLY))
        except OSError:
            return False
        self.release()

        return True

    def release(self) -> None:
        """Release the lock, so that the folder will be recovered. May be repeated."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


@dataclass(frozen=True, slots=True)
class DeadOwner:
    """The folder of a dead owner.

    `owner` is None if neither the description can be read (after a loss of power the file may be
    empty) nor the spool has the row; then only the journal may have it. `program` is the owner's
    own `recovery_program`.
    """

    path: Path
    owner: OwnerRow | None
    program: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The owner's id."""
        return self.path.name

    @classmethod
    def read(cls, path: Path) -> DeadOwner:
        """Read the folder of an owner, dead or not."""
        for read in (_described, described):
            try:
                description = json.loads(read(path))
                owner = _row(description)
                program = tuple(str(argument) for argument in description["program"])
            except (OSError, ValueError, TypeError, KeyError):
                continue
            # The description in a copy of a folder is that of another owner.
            return cls(path, owner if owner.id == path.name else None, program)

        return cls(path, None)

    def lock(self) -> LockedFolder | None:
        """Lock the folder for its recovery; return None if another process has.

        None as well if it is recovered already.

        Raises:
            OSError: the folder cannot be locked.
        """
        try:
            held = lock(self.path / LOCK)
        except FileNotFoundError:
            return None

        return None if held is None else LockedFolder(self.path, held)


def ended(owners: Path) -> list[DeadOwner]:
    """Return the owners that have ended cleanly, and have left records, the oldest first."""
    paths = [path for path in _folders(owners) if (path / ENDED).exists()]

    return [DeadOwner.read(path) for path in paths if not _is_foreign(path)]


def dead(owners: Path) -> list[DeadOwner]:
    """Return the dead owners, the oldest first, and delete litter.

    Several processes may call this at once: the one that locks an owner is to recover it. An owner
    that is being recovered does not count as dead, and what belongs to another user is left alone.
    """
    dead_owners = []
    for path in _folders(owners):
        if _is_foreign(path) or not is_free(path / LOCK) or (path / ENDED).exists():
            continue
        if _is_complete(path):
            dead_owners.append(DeadOwner.read(path))
        else:
            _delete_litter(path)

    return dead_owners


def _is_foreign(path: Path) -> bool:
    """Return whether a folder, the one it is in or a file in it is another user's; that is logged.

    A description names a program, and a spool is written to the journal: neither is taken from
    somebody else.
    """
    with suppress(OSError):
        for file in (path.parent, path, *path.iterdir()):
            user = foreign_owner(file)
            if user is not None:
                _log_foreign(refusal(file, user))
                return True

    return False


@functools.lru_cache(maxsize=64)
def _log_foreign(text: str) -> None:
    get_logger("recovery").warning(text)


def is_of_this_host(owners: Path | None, row: OwnerRow) -> bool:
    """Return whether an owner has its folder here: then that shows if it lives, and not its lease.

    The spool in the folder has to be read before its runs are taken over.
    """
    return owners is not None and row.host == host_id() and (owners / row.id).is_dir()


def is_recovery_at_work(owners: Path) -> bool:
    """Return whether another process recovers an owner here, where the system tells (Linux)."""
    return any(_is_recovery(holder(path / LOCK)) for path in _folders(owners))


def _is_recovery(pid: int | None) -> bool:
    if pid in (None, os.getpid()):
        return False
    try:
        return b"eventflow.recovery" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _folders(owners: Path) -> list[Path]:
    try:
        with os.scandir(owners) as entries:
            return sorted(Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


# -- the content of a folder ---------------------------------------------------------------------


def _description(owner: OwnerRow) -> str:
    fields: dict[str, Any] = owner._asdict()
    described = {name: fields[name] for name in OwnerRow._fields[:10]}
    # As ASCII: paths and arguments need not be valid text, and must be read back unchanged.
    return json.dumps(
        {**described, "started": owner.started.isoformat(), "program": recovery_program()}
    )


def _write(path: Path, description: str) -> None:
    with os.fdopen(open_file(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), "w") as file:
        file.write(description)


def _described(path: Path) -> str:
    return (path / DESCRIPTION).read_text("ascii")


def _row(description: dict[str, Any]) -> OwnerRow:
    fields = {name: description[name] for name in OwnerRow._fields[:10]}
    row = OwnerRow(**fields)

    return row._replace(
        started=datetime.fromisoformat(row.started),  # type: ignore[arg-type]  # as it is stored
        argv=tuple(row.argv),
        sys_path=tuple(row.sys_path),
    )


def _is_complete(path: Path) -> bool:
    # Records are committed even if nothing describes their owner.
    is_described = (path / DESCRIPTION).exists() or _has_records(path)

    return is_described and not path.name.startswith(".")


def _has_records(path: Path) -> bool:
    # It may be renamed or deleted at this moment.
    with suppress(FileNotFoundError):
        return has_records(path)

    return False


# -- deleting a folder ---------------------------------------------------------------------------


def _delete_litter(path: Path) -> None:
    """Delete an incomplete folder, unless it is so new that its process may be alive."""
    with suppress(OSError):
        # The difference is negative if the clock was set back.
        if abs(time.time() - path.stat().st_mtime) < LITTER_SECONDS:
            return
        held = lock(path / LOCK)
        if held is not None:
            _delete(path)
            held.release()


def _remove(path: Path) -> bool:
    renamed = path.with_name(f"{DELETED_PREFIX}{path.name}")
    try:
        path.rename(renamed)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    _delete(renamed)

    return True


def _delete(path: Path) -> None:
    with suppress(OSError):
        for file in list(path.iterdir()):
            file.unlink(missing_ok=True)
        path.rmdir()
