"""Loads modules of the package when they are first needed, one thread at a time."""

from __future__ import annotations

from importlib import import_module
from threading import RLock
from types import ModuleType
from typing import Final

from eventflow.primitives.forks import watch

__all__ = ["load"]


class _Turn:
    """Has one thread load at a time, and no fork happen meanwhile.

    Two threads that import a package, and a module of it, at the same moment are a deadlock to
    Python, which it ends by an error. In a child, what another thread was importing stays locked.
    """

    def __init__(self) -> None:
        self.lock = RLock()

    def before_fork(self) -> None:
        """Wait until no other thread loads anything."""
        self.lock.acquire()

    def after_fork(self, *, child: bool) -> None:  # noqa: ARG002 - the thread that forks is in both
        """Let other threads load again."""
        self.lock.release()


_turn: Final = _Turn()
watch(_turn)


def load(name: str) -> ModuleType:
    """Return a module, which is imported unless it is there already.

    Raises:
        ImportError: there is no such module, or what it needs is not installed.
    """
    with _turn.lock:
        return import_module(name)
