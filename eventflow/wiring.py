"""The composition root: attach to a bus, before its first run, what the settings ask for."""

from __future__ import annotations

from collections import Counter
from threading import Lock
from typing import Final

from eventflow.eventbus.bus import EventBus, compose_with, current_bus
from eventflow.journal.recorder import Recorder
from eventflow.logs import configure
from eventflow.owners.session import OwnerSession
from eventflow.primitives.forks import renewed
from eventflow.settings import EVENTFLOW_DURABILITY, EVENTFLOW_JOURNAL_URL

__all__ = ["compose", "detach", "recorder"]

_lock = Lock()
renewed(globals(), "_lock", Lock)
_configured: Final[list[bool]] = []
_sessions: Final[dict[tuple[str, str], OwnerSession]] = {}
_users: Final[Counter[tuple[str, str]]] = Counter()
"""How many buses each session serves."""


def compose(bus: EventBus) -> None:
    """Attach to a bus what the settings ask for, unless it is composed.

    The settings in force at the first run on a bus decide.
    """
    with _lock:
        if bus.composed:
            return
        if not _configured:
            configure()
            _configured.append(True)
        bus.recorder = _recorder_for(bus)
        bus.composed = True


compose_with(compose)


def detach(bus: EventBus) -> None:
    """Detach what was attached to a bus, and close its journal if no other bus uses it."""
    with _lock:
        attached, bus.recorder, bus.composed = bus.recorder, None, False
        if not isinstance(attached, Recorder):
            return
        for key, session in list(_sessions.items()):
            if session is attached.sink:
                session.buses.discard(bus)
                _users[key] -= 1
                if not _users[key]:
                    del _sessions[key], _users[key]
                    session.close()


def _recorder_for(bus: EventBus) -> Recorder | None:
    durability = EVENTFLOW_DURABILITY.value()
    if durability == "off":
        return None
    url = EVENTFLOW_JOURNAL_URL.value()
    key = (url, durability)
    if key not in _sessions:
        _sessions[key] = OwnerSession(url, durability)
    _users[key] += 1
    _sessions[key].buses.add(bus)

    return Recorder(_sessions[key], bus)


def recorder() -> Recorder | None:
    """Return the recorder of the bus in force; None if nothing is recorded, or nothing yet."""
    attached = current_bus().recorder

    return attached if isinstance(attached, Recorder) else None
