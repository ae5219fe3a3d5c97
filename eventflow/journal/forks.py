"""What must be done around a fork: threads, locks and connections do not survive one."""

from __future__ import annotations

import os
import threading
from typing import Final, Protocol
from weakref import WeakValueDictionary

__all__ = ["Forkable", "watch"]


class Forkable(Protocol):
    """Something that has to be prepared for a fork."""

    def before_fork(self) -> None:
        """Be ready: nothing that a child must not inherit is open after this."""
        ...

    def after_fork(self, *, child: bool) -> None:
        """Go on, in the parent or in the child."""
        ...


class _Local(threading.local):
    """What a thread has prepared for its own fork: others may be about to fork as well."""

    def __init__(self) -> None:
        self.prepared: list[Forkable] = []


_watched: Final[WeakValueDictionary[int, Forkable]] = WeakValueDictionary()
_local: Final = _Local()


def watch(one: Forkable) -> None:
    """Have something prepared for every fork as long as it exists."""
    _watched[id(one)] = one


def _before() -> None:
    # A snapshot: another thread may just begin to have something watched.
    for reference in _watched.valuerefs():
        one = reference()
        if one is not None:
            one.before_fork()
            _local.prepared.append(one)


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
