"""Owners on this host: each has a folder whose lock says, for as long as it is held: it lives.

    <owners>/<id>/lock           held by the owner, or by who recovers it
                  owner.json     who it is and how it was started
                  spool-*.jsonl  lines that are not in the journal yet; first, who it is once more

A folder appears under its name at once with all that belongs to it, and disappears likewise:
whatever has a dot before its name is on its way, and litter if it stays. Neither a process id nor
a boot id says who lives: both may come again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from eventflow.journal.format import owner_in
from eventflow.journal.rows import OwnerRow
from eventflow.journal.spool import segments
from eventflow.owners.locks import Lock, is_free, lock
from eventflow.owners.process import boot_id, describe, host_id, recovery_program
from eventflow.settings import EVENTFLOW_HOME

__all__ = [
    "RECOVERING",
    "DeadOwner",
    "OwnFolder",
    "begin",
    "boot_id",
    "dead",
    "describe",
    "host_id",
    "is_alive",
    "owners_folder",
]

LOCK: Final = "lock"
DESCRIPTION: Final = "owner.json"
SPOOL: Final = "spool-*"
COMING: Final = ".new-"
GOING: Final = ".old-"

RECOVERING: Final = ".recovering"
"""The file, beside the folders of the owners, whose lock is held by who recovers all the dead."""

LITTER_SECONDS: Final = 60
"""After how long a folder that is not whole was left by a process that died over it."""

TRIES: Final = 3
"""How often a folder is begun that is taken for litter, by a process that stood still."""


def owners_folder(url: str) -> Path | None:
    """Give the folder of the owners of the journal at a URL; None if it needs none."""
    scheme, _, place = url.partition("://")
    if scheme == "sqlite":
        # As SQLite itself does: one journal, whatever name it is opened by.
        return Path(f"{os.path.realpath(place[1:])}-owners")

    return EVENTFLOW_HOME.value() / "owners" if scheme == "postgresql" else None


class OwnFolder:
    """The folder of an owner whose lock this process holds: its own, or that of a dead one.

    As a context manager it lets go of the lock at the end of the block. A forked child holds
    nothing: all it does with the folder of its parent is without effect.
    """

    def __init__(self, path: Path, lock: Lock, description: str = "") -> None:
        self.path = path
        self.description = description
        """What is in its file of that name, if it was made here."""
        self._lock = lock

    @classmethod
    def begin(cls, owners: Path, owner: OwnerRow) -> Self:
        """Make the folder of this process as an owner, and take its lock.

        Raises:
            OSError: it cannot be made, or the file system has no locks.
        """
        owners.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(TRIES - 1):
            with suppress(FileNotFoundError):
                return cls._begun(owners, owner)

        return cls._begun(owners, owner)

    @classmethod
    def _begun(cls, owners: Path, owner: OwnerRow) -> Self:
        made, path = owners / f"{COMING}{owner.id}", owners / owner.id
        made.mkdir(mode=0o700, exist_ok=True)
        held = lock(made / LOCK)
        if held is None:
            raise FileNotFoundError(f"{made} was taken for litter")
        try:
            description = _description(owner)
            _write(made / DESCRIPTION, description)
            made.rename(path)
        except BaseException:
            _delete(made)
            held.let_go()
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

    def end(self) -> bool:
        """Delete the folder and let go of the lock; says whether the folder is gone.

        Never with lines in its spool: then it is left to be recovered.
        """
        if not self.is_held:
            return False
        try:
            return not _has_lines(self.path) and _discard(self.path)
        finally:
            self.let_go()

    def let_go(self) -> None:
        """Let go of the lock and leave the folder to be recovered. May be repeated."""
        self._lock.let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.let_go()


begin: Final = OwnFolder.begin
"""Make the folder of this process as an owner, and take its lock."""


@dataclass(frozen=True, slots=True)
class DeadOwner:
    """The folder of an owner that was found dead.

    `owner` is None if its description cannot be read (after a loss of power the file may be
    empty) and its spool does not say either who it was; then the journal knows it, or nobody.
    `program` is the owner's own `recovery_program`.
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
        for find in (_described, _spooled):
            try:
                found = json.loads(find(path))
                owner = _row(found)
                program = tuple(str(one) for one in found["program"])
            except (OSError, ValueError, TypeError, KeyError):
                continue
            # A copy of a folder describes somebody else.
            return cls(path, owner if owner.id == path.name else None, program)

        return cls(path, None)

    def take(self) -> OwnFolder | None:
        """Take the lock, for a `with` block over the whole recovery; None: another is at it.

        None as well if it is recovered already.

        Raises:
            OSError: the lock cannot be taken.
        """
        try:
            held = lock(self.path / LOCK)
        except FileNotFoundError:
            return None

        return None if held is None else OwnFolder(self.path, held)


def dead(owners: Path) -> list[DeadOwner]:
    """Give the owners that are dead, the oldest first, and remove litter.

    Several processes may look at once: whose `take` succeeds is the one to recover. An owner
    that another process recovers now does not count as dead.
    """
    found = []
    for path in _folders(owners):
        if not is_free(path / LOCK):
            continue
        if _is_whole(path):
            found.append(DeadOwner.read(path))
        else:
            _sweep(path)

    return found


def is_alive(owners: Path, owner_id: str) -> bool:
    """Whether an owner of this host lives, or is being recovered."""
    path = owners / owner_id

    return path.is_dir() and not is_free(path / LOCK)


def _folders(owners: Path) -> list[Path]:
    try:
        with os.scandir(owners) as entries:
            return sorted(Path(one) for one in entries if one.is_dir(follow_symlinks=False))
    except OSError:
        return []


# -- what is in a folder -------------------------------------------------------------------------


def _description(owner: OwnerRow) -> str:
    fields: dict[str, Any] = owner._asdict()
    described = {name: fields[name] for name in OwnerRow._fields[:10]}
    # In plain ASCII: paths and arguments may be no text at all, and come back as they were.
    return json.dumps(
        {**described, "started": owner.started.isoformat(), "program": recovery_program()}
    )


def _write(path: Path, description: str) -> None:
    with open(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as file:  # noqa: PTH123 - private from the beginning
        file.write(description)


def _described(path: Path) -> str:
    return (path / DESCRIPTION).read_text("ascii")


def _spooled(path: Path) -> str:
    """Give what the spool says of its owner, in its first line, until that is in the journal."""
    found = segments(path)
    try:
        return owner_in(next(found[0].lines(), b"")) if found else ""
    finally:
        for one in found:
            one.close()


def _row(found: dict[str, Any]) -> OwnerRow:
    fields = {name: found[name] for name in OwnerRow._fields[:10]}
    row = OwnerRow(**fields)

    return row._replace(
        started=datetime.fromisoformat(row.started),  # type: ignore[arg-type]  # as it is stored
        argv=tuple(row.argv),
        sys_path=tuple(row.sys_path),
    )


def _is_whole(path: Path) -> bool:
    # Lines are worth something even where nothing tells whose they are.
    described = (path / DESCRIPTION).exists() or _has_lines(path)

    return described and not path.name.startswith(".")


def _has_lines(path: Path) -> bool:
    # It may get its name, or go, in this moment.
    with suppress(FileNotFoundError):
        return any(_size(one) for one in path.glob(SPOOL))

    return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


# -- how a folder goes ---------------------------------------------------------------------------


def _sweep(path: Path) -> None:
    """Remove litter, unless somebody may still be busy with it."""
    with suppress(OSError):
        # The clock may have been set back since.
        if abs(time.time() - path.stat().st_mtime) < LITTER_SECONDS:
            return
        held = lock(path / LOCK)
        if held is not None:
            _delete(path)
            held.let_go()


def _discard(path: Path) -> bool:
    going = path.with_name(f"{GOING}{path.name}")
    try:
        path.rename(going)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    _delete(going)

    return True


def _delete(path: Path) -> None:
    with suppress(OSError):
        for one in _contents(path):
            one.unlink(missing_ok=True)
        path.rmdir()


def _contents(path: Path) -> Iterator[Path]:
    with os.scandir(path) as entries:
        yield from [Path(one) for one in entries]
