"""Tracebacks of users' code: without the frames of eventflow and of the import system."""

from __future__ import annotations

import importlib
import os
import re
import types
from collections.abc import Sequence
from pathlib import Path
from traceback import StackSummary, TracebackException
from typing import Any, Final, TypeVar

__all__ = ["formatted", "origin", "origin_in", "own_traceback", "trimmed"]

_PACKAGE: Final = f"{Path(__file__).parents[1]}{os.sep}"
_HIDDEN: Final = (_PACKAGE, f"{Path(importlib.__file__).parent}{os.sep}", "<frozen importlib")
_STANDARD: Final = f"{Path(os.__file__).parent}{os.sep}"
_INSTALLED: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_ANYIO: Final = f"{os.sep}anyio{os.sep}"

_FRAME: Final = re.compile(r'^[ |]*  File "(.+)", line (\d+)', re.MULTILINE)

T = TypeVar("T")

_TRACEBACK: Final[Any] = vars(BaseException)["__traceback__"]


def own_traceback(error: BaseException) -> types.TracebackType | None:
    """Return the traceback of an exception, whatever its class has in place of the attribute."""
    found: types.TracebackType | None = _TRACEBACK.__get__(error)

    return found


def formatted(error: BaseException) -> str:
    """Format an exception, and those that led to it, with the frames of the user's code only.

    Raises:
        BaseException: what the attributes of the exception raise.
    """
    described = TracebackException(
        type(error), error, own_traceback(error), lookup_lines=False, compact=True
    )
    pending: list[TracebackException | None] = [described]
    while pending:
        part = pending.pop()
        if part is not None:
            files = [frame.filename for frame in part.stack]
            part.stack = StackSummary.from_list(_users(part.stack, files))
            pending += [part.__cause__, part.__context__, *(part.exceptions or ())]

    return "".join(described.format())


def trimmed(trace: types.TracebackType | None) -> types.TracebackType | None:
    """Return a copy of a traceback that has the frames of the user's code only; None if none."""
    kept: types.TracebackType | None = None
    for part in reversed(_users(*_chain(trace))):
        kept = types.TracebackType(kept, part.tb_frame, part.tb_lasti, part.tb_lineno)

    return kept


def origin(error: BaseException) -> str | None:
    """Return where the user's code raised an exception, as `etl.py:12`; None if it did not.

    That is its innermost line which is not in a library; where all are, the innermost of them.
    """
    parts = _users(*_chain(own_traceback(error)))
    if not parts:
        return None
    own = [part for part in parts if not _is_library(_file(part))] or parts

    return f"{_shown_path(_file(own[-1]))}:{own[-1].tb_lineno}"


def origin_in(text: str) -> str | None:
    """Return the same of a formatted traceback."""
    frames: list[tuple[str, str]] = _FRAME.findall(text)
    own = [frame for frame in frames if not _is_library(frame[0])] or frames

    return f"{_shown_path(own[-1][0])}:{own[-1][1]}" if own else None


def _shown_path(path: str) -> str:
    try:
        return path.removeprefix(f"{os.getcwd()}{os.sep}")  # noqa: PTH109 - a string
    except OSError:  # the working folder was deleted
        return path


def _chain(
    trace: types.TracebackType | None,
) -> tuple[list[types.TracebackType], list[str]]:
    parts: list[types.TracebackType] = []
    while trace is not None:
        parts.append(trace)
        trace = trace.tb_next

    return parts, [_file(part) for part in parts]


def _file(part: types.TracebackType) -> str:
    return part.tb_frame.f_code.co_filename


def _users(frames: Sequence[T], files: Sequence[str]) -> list[T]:
    """Return the frames that are of the user's code, by their files.

    Where eventflow calls something that calls it back, such as a thread of anyio, the frames in
    between are left out as well.
    """
    kept: list[T] = []
    # How many were kept at the last frame of eventflow, if only the engine's libraries follow it.
    since: int | None = None
    for frame, file in zip(frames, files, strict=True):
        if file.startswith(_HIDDEN):
            del kept[len(kept) if since is None else since :]
            since = len(kept)
            continue
        if not (file.startswith(_STANDARD) and not _is_installed(file)) and _ANYIO not in file:
            since = None
        kept.append(frame)

    return kept


def _is_library(file: str) -> bool:
    return file.startswith((_STANDARD, "<frozen ")) or _is_installed(file)


def _is_installed(file: str) -> bool:
    return any(folder in file for folder in _INSTALLED)
