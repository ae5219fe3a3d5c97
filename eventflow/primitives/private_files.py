"""Files and folders that only this user may read, and the refusal of what another user made."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["foreign_owner", "make_folder", "open_file", "refusal", "refuse_foreign"]

# Without it, Windows translates the ends of lines.
_BINARY: Final[int] = getattr(os, "O_BINARY", 0)

ROOT: Final = 0


def make_folder(path: Path) -> None:
    """Create a folder with mode 0700, and each of its parents that is missing.

    Raises:
        OSError: it cannot be created, or is no folder.
    """
    # Not `mkdir(parents=True)`, which creates the parents with the mode that the umask leaves.
    for folder in reversed([path, *path.parents]):
        if folder == path or not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)


def open_file(path: str | os.PathLike[str], flags: int) -> int:
    """Open a file for bytes and return its descriptor; a new one gets mode 0600.

    Raises:
        OSError: it cannot be opened.
    """
    return os.open(path, flags | _BINARY, 0o600)


def foreign_owner(path: str | os.PathLike[str]) -> int | None:
    """Return the id of the user a file or folder belongs to, if that is neither this one nor root.

    A symbolic link counts as foreign if it or what it leads to is. None if there is no such file.
    """
    if not hasattr(os, "geteuid"):
        return None
    trusted = _trusted_users()
    for look in (os.lstat, os.stat):
        with suppress(OSError):
            user = look(path).st_uid
            if user not in trusted:
                return user

    return None


def _trusted_users() -> frozenset[int]:
    return frozenset({ROOT, os.geteuid()})


def refusal(path: str | os.PathLike[str], user: int) -> str:
    """Return the sentences that say why a file of another user is not used."""
    return (
        f"{os.fspath(path)} belongs to another user (id {user}), so it is not used. "
        "Set EVENTFLOW_HOME to a folder of your own."
    )


def refuse_foreign(path: str | os.PathLike[str]) -> None:
    """Raise an error if a file or folder belongs to another user.

    Raises:
        PermissionError: it does.
    """
    user = foreign_owner(path)
    if user is not None:
        raise PermissionError(refusal(path, user))
