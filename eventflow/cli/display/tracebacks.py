"""Tracebacks of users' code, without the frames of eventflow and the import system."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from traceback import FrameSummary, StackSummary, TracebackException
from typing import Final

__all__ = ["own_traceback"]

_FOLDERS: Final = (Path(__file__).parents[2], Path(importlib.__file__).parent)
_OURS: Final = (*(f"{folder}{os.sep}" for folder in _FOLDERS), "<frozen importlib")


def own_traceback(error: BaseException) -> str:
    """Format an exception and its causes, without the frames of eventflow itself."""
    described = TracebackException.from_exception(error)
    _trim(described)

    return "".join(described.format()).rstrip()


def _trim(described: TracebackException) -> None:
    described.stack = StackSummary.from_list(
        [frame for frame in described.stack if _is_theirs(frame)]
    )
    for other in (described.__cause__, described.__context__, *(described.exceptions or ())):
        if other is not None:
            _trim(other)


def _is_theirs(frame: FrameSummary) -> bool:
    return not frame.filename.startswith(_OURS)
