"""Forks: reset in a forked child what it must not inherit, and prepare objects for a fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol
from weakref import WeakValueDictionary

__all__ = ["Forkable", "in_children", "renewed", "watch"]


def in_children(function: Callable[[], object]) -> None:
    """Call a function in every child that this process forks."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def renewed(namespace: dict[str, Any], name: str, make: Callable[[], object]) -> None:
    """Replace a global variable in every child; `namespace` is `globals()`.

    For locks: a thread of the parent may hold one, and does not exist in the child.
    """
    in_children(lambda: namespace.__setitem__(name, make()))


class Forkable(Protocol):
    """An object that has to be prepared for a fork."""

    def before_fork(self) -> None:
        """Close what a child must not inherit."""
        ...

    def after_fork(self, *, child: bool) -> None:
        """Resume, in the parent or in the child."""
        ...


class _Local(threading.local):
    """What this thread has prepared for its fork: another thread may fork at the same time."""

    def __init__(self) -> None:
        self.prepared: list[Forkable] = []


_watched: Final[WeakValueDictionary[int, Forkable]] = WeakValueDictionary()
_local: Final = _Local()


def watch(item: Forkable) -> None:
    """Prepare an object for every fork as long as it exists."""
    _watched[id(item)] = item


def _before() -> None:
    # A snapshot: another thread may register an object meanwhile.
    for reference in _watched.valuerefs():
        item = reference()
        if item is not None:
            item.before_fork()
            _local.prepared.append(item)


def _after(*, child: bool) -> None:
    prepared = _local.prepared
    while prepared:
        prepared.pop().after_fork(child=child)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before,
        after_in_parent=lambda: _after(child=False),
        after_in_child=lambda: _after(child=True),
    )
