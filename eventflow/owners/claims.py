"""Claims: of an owner and its guardian, one delivers a hook because a state has lasted.

A claim is a file in the owner's folder: whoever creates it has it, also while the journal cannot be
used. It goes with the folder at the latest.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from eventflow.primitives.private_files import open_file

__all__ = ["claim", "is_guardians", "release"]

_PREFIX: Final = "due-"
_GUARDIAN: Final = b"guardian"


def claim(folder: Path, name: str, *, guardian: bool = False) -> bool:
    """Claim a delivery; return False if the other one has it."""
    path = folder / f"{_PREFIX}{name}"
    try:
        descriptor = open_file(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        # The guardian goes on with what an earlier process of its own has begun.
        return guardian and is_guardians(folder, name)
    except OSError:
        # Without the file nobody but the owner delivers.
        return not guardian
    with os.fdopen(descriptor, "wb") as file:
        file.write(_GUARDIAN if guardian else b"owner")

    return True


def is_guardians(folder: Path, name: str) -> bool:
    """Return whether the guardian has claimed a delivery."""
    try:
        return (folder / f"{_PREFIX}{name}").read_bytes() == _GUARDIAN
    except OSError:
        return False


def release(folder: Path, name: str) -> None:
    """Remove the claim of a delivery whose outcome is recorded."""
    with suppress(OSError):
        (folder / f"{_PREFIX}{name}").unlink(missing_ok=True)
