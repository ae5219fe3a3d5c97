"""The version that a definition has by default: a short hash of the file of its function."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

from eventflow.primitives.callables import plain_function

__all__ = ["file_version"]


def file_version(function: Callable[..., Any]) -> str | None:
    """Return eight digits that change with the file; None if there is none that can be read.

    There is none of what is typed at a prompt or in a notebook, nor in an archive.
    """
    code = getattr(plain_function(function), "__code__", None)
    if code is None:
        return None
    try:
        content = Path(code.co_filename).read_bytes()
    except OSError:
        return None

    return blake2b(content, digest_size=4).hexdigest()
