"""Loads modules, and the names that a package offers, on their first use: one thread at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from threading import RLock
from types import ModuleType
from typing import Any, Final

from eventflow.primitives.forks import watch

__all__ = ["lazily", "load"]


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


def lazily(
    package: str, modules: Mapping[str, Collection[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and the `__dir__` of a package that loads its names on their use.

    `modules` has the names that each module gives. A module of the package itself is found too. No
    module imports such a name at its top, where Python holds the lock of that module: this waits
    for another thread that loads, which may wait for the module.
    """
    homes = {name: module for module, names in modules.items() for name in names}
    namespace = vars(sys.modules[package])

    def find(name: str) -> Any:
        if name in homes:
            # From now on it is found without this function.
            value = namespace[name] = getattr(load(homes[name]), name)
            return value
        if not name.startswith("_"):
            module = f"{package}.{name}"
            try:
                return load(module)
            except ModuleNotFoundError as missing:
                if missing.name != module:
                    raise
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find, lambda: sorted({*namespace, *namespace["__all__"]})
