"""The composition root: what is attached to the bus before the first run.

The journal's place is here: the first subscriber (`Phase.JOURNAL`), before listeners and hooks.
"""

from __future__ import annotations

from threading import Lock
from typing import Final

from eventflow.eventbus import EventBus, current_bus
from eventflow.logs import configure

__all__ = ["wired_bus"]

_lock: Final = Lock()
_done: Final[list[bool]] = []


def wired_bus() -> EventBus:
    """Give the bus in force, with everything attached that the settings ask for."""
    if not _done:
        with _lock:
            if not _done:
                configure()
                _done.append(True)

    return current_bus()
