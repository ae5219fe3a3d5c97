"""Exceptions that Python swallows, because they were raised in a finalizer.

An exception from outside is raised in whatever a thread executes next. That may be a finalizer, the
callback of a weak reference, or one of `gc.callbacks`: Python reports what is raised there to
`sys.unraisablehook`, and goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

__all__ = ["on_swallowed"]


class _Hook:
    """Stands in for `sys.unraisablehook`, for exceptions of one class."""

    def __init__(
        self,
        kind: type[BaseException],
        function: Callable[[], object],
        other: Callable[[Any], object],
    ) -> None:
        self.kind = kind
        self._function = function
        self._other = other

    def __call__(self, swallowed: Any) -> None:
        if swallowed.exc_type is self.kind:
            self._function()
        else:
            self._other(swallowed)


def on_swallowed(kind: type[BaseException], function: Callable[[], object]) -> None:
    """Have a function called, in the thread concerned, for each such exception that is swallowed.

    All others go to the hook that was there, as they do if another hook has taken this one's place.
    """
    present = sys.unraisablehook
    if not isinstance(present, _Hook):
        sys.unraisablehook = _Hook(kind, function, present)
