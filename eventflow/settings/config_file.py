"""Reading the config file: again only when it has changed, and never one of another user."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from eventflow.errors import ConfigurationError
from eventflow.primitives.private_files import foreign_owner, refusal

__all__ = ["Document", "read_document"]


@dataclass(frozen=True, eq=False)
class Document:
    """The content of a config file: the same object as long as the file has not changed."""

    path: str
    content: Mapping[str, object] = field(default_factory=dict)


def read_document(path: str) -> Document:
    """Read a config file; without one, or if it is another user's, it is empty.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    try:
        stat = os.stat(path)  # noqa: PTH116 - on the way of every value(), and Path is slow
    except (FileNotFoundError, NotADirectoryError):
        return _no_document(path)
    except OSError as error:
        raise _unreadable(path, error) from error

    user = foreign_owner(path)
    if user is not None:
        warnings.warn(refusal(path, user), UserWarning, stacklevel=2)
        return _no_document(path)

    return _read(path, (stat.st_mtime_ns, stat.st_size, stat.st_ino))


@lru_cache(maxsize=4)
def _no_document(path: str) -> Document:
    return Document(path)


@lru_cache(maxsize=4)
def _read(path: str, stamp: tuple[int, ...]) -> Document:  # noqa: ARG001 - the key of the cache
    import tomllib  # noqa: PLC0415 - slow to import, and most processes have no config file

    try:
        with open(path, "rb") as file:  # noqa: PTH123 - the path is a string
            return Document(path, tomllib.load(file))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"The config file {path!r} cannot be read: {error}. Correct it or remove it."
    )
