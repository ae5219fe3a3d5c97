"""What a forked child must not inherit: a lock may be held by a thread that is not there."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

__all__ = ["in_children", "renewed"]


def in_children(function: Callable[[], object]) -> None:
    """Have a function called in every child that this process forks."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def renewed(space: dict[str, Any], name: str, make: Callable[[], object]) -> None:
    """Have the global variable of that name made anew in every child; `space` is `globals()`."""
    in_children(lambda: space.__setitem__(name, make()))
