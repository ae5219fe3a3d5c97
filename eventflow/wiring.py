"""The composition root: what is attached to a bus before its first run, as the settings ask."""

from __future__ import annotations

from collections import Counter
from threading import Lock
from typing import Final

from eventflow.eventbus.bus import EventBus, current_bus
from eventflow.journal.recorder import Recorder
from eventflow.logs import configure
from eventflow.owners.session import OwnerSession
from eventflow.primitives.forks import renewed
from eventflow.settings import EVENTFLOW_DURABILITY, EVENTFLOW_JOURNAL_URL

__all__ = ["recorder", "unwire", "wired_bus"]

_lock = Lock()
renewed(globals(), "_lock", Lock)
_configured: Final[list[bool]] = []
_ownerships: Final[dict[tuple[str, str], OwnerSession]] = {}
_users: Final[Counter[tuple[str, str]]] = Counter()
"""How many buses have each of them."""


def wired_bus() -> EventBus:
    """Give the bus in force, with everything attached that the settings ask for.

    The settings count that are in force at the first run on a bus.
    """
    bus = current_bus()
    if not bus.wired:
        with _lock:
            if not bus.wired:
                if not _configured:
                    configure()
                    _configured.append(True)
                bus.account = _account(bus)
                bus.wired = True

    return bus


def unwire(bus: EventBus) -> None:
    """Detach what was attached to a bus, and take leave of its journal if no other bus has it."""
    with _lock:
        account, bus.account, bus.wired = bus.account, None, False
        if not isinstance(account, Recorder):
            return
        for key, ownership in list(_ownerships.items()):
            if ownership is account.books:
                ownership.buses.discard(bus)
                _users[key] -= 1
                if not _users[key]:
                    del _ownerships[key], _users[key]
                    ownership.close()


def _account(bus: EventBus) -> Recorder | None:
    durability = EVENTFLOW_DURABILITY.value()
    if durability == "off":
        return None
    url = EVENTFLOW_JOURNAL_URL.value()
    key = (url, durability)
    if key not in _ownerships:
        _ownerships[key] = OwnerSession(url, durability)
    _users[key] += 1
    _ownerships[key].buses.add(bus)

    return Recorder(_ownerships[key], bus)


def recorder() -> Recorder | None:
    """Give what keeps account of the runs on the bus in force; None if nothing does, or yet."""
    account = current_bus().account

    return account if isinstance(account, Recorder) else None
