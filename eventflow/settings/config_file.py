"""Reading the config file: again only when it has changed, and never one of another user."""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from eventflow.errors import ConfigurationError
from eventflow.primitives.private_files import foreign_owner, refusal

__all__ = ["Document", "full_name", "hint_for", "read_document", "values_in"]

PREFIX: Final = "EVENTFLOW_"


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


def full_name(key: str) -> str:
    """Return the name of the setting that a key stands for."""
    name = key.strip().upper()
    return name if name.startswith(PREFIX) else PREFIX + name


def hint_for(name: str, known: Collection[str]) -> str:
    """Return a question for the known name that is like this one, if there is one."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def values_in(
    document: Document, known: Collection[str], elsewhere: Collection[str]
) -> Mapping[str, object]:
    """Return the values of a config file by the names of their settings.

    What is no setting is warned about, and what can be set `elsewhere` only.

    Raises:
        ConfigurationError: a setting is there twice.
    """
    path, values = document.path, dict[str, object]()
    for key, raw in document.content.items():
        name = full_name(key)
        if name in values:
            raise ConfigurationError(f"The config file {path!r} sets {name} twice; keep one.")
        if name in known and name not in elsewhere:
            values[name] = raw
        else:
            why = f"there is no such setting{hint_for(name, known)}"
            if name in known:
                why = f"{name} says where this file is; set it in the environment"
            warnings.warn(f"{path}: the key {key!r} is ignored: {why}", UserWarning, stacklevel=2)

    return values


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
