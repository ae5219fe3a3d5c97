"""Exceptions that Python swallows, because they were raised in a finalizer.

An exception from outside is raised in whatever a thread executes next. That may be a finalizer, the
callback of a weak reference, or one of `gc.callbacks`: Python reports what is raised there to
`sys.unraisablehook`, and goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar

__all__ = ["on_swallowed"]

E = TypeVar("E", bound=BaseException)

_handlers: Final[dict[type[BaseException], Callable[[Any], bool]]] = {}


class _Hook:
    """Stands in for `sys.unraisablehook`, and calls it for what is not handled."""

    def __init__(self, other: Callable[[Any], object]) -> None:
        self._other = other

    def __call__(self, swallowed: Any) -> None:
        handle = _handlers.get(swallowed.exc_type)
        if handle is None or not handle(swallowed.exc_value):
            self._other(swallowed)


def on_swallowed(kind: type[E], handle: Callable[[E], bool]) -> None:
    """Have a function called, in the thread concerned, with each such exception that is swallowed.

    If it returns False, and for all other exceptions, the hook of the program is called.
    """
    _handlers[kind] = handle
    present = sys.unraisablehook
    # Another hook may have taken this one's place, and may call it.
    if not isinstance(present, _Hook):
        sys.unraisablehook = _Hook(present)
