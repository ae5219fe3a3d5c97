"""Who is told of what happens to buses, hooks and runs, without being known here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol
from weakref import WeakSet

__all__ = [
    "HookWatcher",
    "compose_with",
    "composers",
    "hooks_changed",
    "overdue_reporters",
    "report_overdue_with",
    "watch_hooks",
]

composers: Final[list[Callable[[Any], None]]] = []


def compose_with(compose: Callable[[Any], None]) -> None:
    """Call a function with each bus before the first run that publishes on it.

    The function attaches what the settings ask for, and sets the bus's `composed`.
    """
    composers.append(compose)


class HookWatcher(Protocol):
    """Is told that the hooks of a definition, or those on a bus, are others now."""

    def hooks_changed(self, definition: Any) -> None:
        """Take note; the definition is None if the hooks are on a bus."""
        ...


_watchers: Final[WeakSet[HookWatcher]] = WeakSet()


def watch_hooks(watcher: HookWatcher) -> None:
    """Tell a watcher, as long as it lives, of hooks that are declared or cancelled later."""
    _watchers.add(watcher)


def hooks_changed(definition: Any = None) -> None:
    """Tell that hooks were declared on a definition, or, without one, on or off some bus."""
    for watcher in list(_watchers):
        watcher.hooks_changed(definition)


overdue_reporters: Final[list[Callable[[Any, float], object]]] = []


def report_overdue_with(report: Callable[[Any, float], object]) -> None:
    """Call a function with each run that has not ended in time, and after how many seconds."""
    overdue_reporters.append(report)
