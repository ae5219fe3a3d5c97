"""What must be done around a fork: threads, locks and connections do not survive one."""

from __future__ import annotations

import os
from typing import Final, Protocol
from weakref import WeakSet

__all__ = ["Forkable", "watch"]


class Forkable(Protocol):
    """Something that has to be prepared for a fork."""

    def before_fork(self) -> None:
        """Be ready: nothing that a child must not inherit is open after this."""
        ...

    def after_fork(self, *, child: bool) -> None:
        """Go on, in the parent or in the child."""
        ...


_watched: Final[WeakSet[Forkable]] = WeakSet()
_prepared: Final[list[Forkable]] = []


def watch(one: Forkable) -> None:
    """Have something prepared for every fork as long as it exists."""
    _watched.add(one)


def _before() -> None:
    for one in list(_watched):
        one.before_fork()
        _prepared.append(one)


def _after(*, child: bool) -> None:
    while _prepared:
        _prepared.pop().after_fork(child=child)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before,
        after_in_parent=lambda: _after(child=False),
        after_in_child=lambda: _after(child=True),
    )
