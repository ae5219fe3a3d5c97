"""The composition root: attach to a bus, before its first run, what the settings ask for."""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Final, TypeGuard

import eventflow.eventbus
from eventflow.errors import JournalError
from eventflow.eventbus.watchers import compose_with
from eventflow.primitives.forks import renewed
from eventflow.primitives.loading import load
from eventflow.settings import EVENTFLOW_DURABILITY, EVENTFLOW_JOURNAL_URL

if TYPE_CHECKING:
    from eventflow.eventbus.bus import EventBus
    from eventflow.eventbus.subscriptions import TransitionRecorder
    from eventflow.journal.recorder import Recorder
    from eventflow.owners.session import OwnerSession

__all__ = ["check_flushable", "compose", "detach", "flush", "recorder"]

# Reentrant: a signal handler or a finalizer may run a flow wherever it interrupts this thread.
_lock = RLock()
renewed(globals(), "_lock", RLock)
_configured: Final[list[bool]] = []
_sessions: Final[dict[tuple[str, str], OwnerSession]] = {}


def compose(bus: EventBus) -> None:
    """Attach to a bus what the settings ask for, unless it is composed.

    The settings in force at the first run on a bus decide.
    """
    with _lock:
        if bus.composed:
            return
        if not _configured:
            load("eventflow.logs").configure()
            _configured.append(True)
        recorder = _recorder_for(bus)
        if not bus.composed:  # by a flow of such a finalizer
            bus.recorder, bus.composed = recorder, True


compose_with(compose)


def detach(bus: EventBus) -> None:
    """Detach what was attached to a bus, and close its journal if no other bus uses it."""
    with _lock:
        attached, bus.recorder, bus.composed = bus.recorder, None, False
        if not _is_ours(attached):
            return
        sessions = list(_sessions.items())
        key = next((key for key, each in sessions if each is attached.sink), None)
        if key is None:
            return
        session = _sessions[key]
        session.buses.discard(bus)
        if session.buses:
            return
        del _sessions[key]
    # Not under the lock: it waits for threads, in which a finalizer may run a flow.
    session.close()


def _recorder_for(bus: EventBus) -> Recorder | None:
    durability = EVENTFLOW_DURABILITY.value()
    if durability == "off":
        return None
    url = EVENTFLOW_JOURNAL_URL.value()
    key = (url, durability)
    kind = _recorder_class()
    session = _sessions.get(key)
    if session is None:
        made = load("eventflow.owners.session").OwnerSession(url, durability)
        session = _sessions.setdefault(key, made)
    session.buses.add(bus)

    return kind(session, bus)


def _recorder_class() -> type[Recorder]:
    # By name, as the session: both are slow to import, and a process without a run needs neither.
    kind: type[Recorder] = load("eventflow.journal.recorder").Recorder

    return kind


def _is_ours(attached: TransitionRecorder | None) -> TypeGuard[Recorder]:
    return attached is not None and isinstance(attached, _recorder_class())


def recorder() -> Recorder | None:
    """Return the recorder of the bus in force; None if nothing is recorded, or nothing yet."""
    attached = eventflow.eventbus.current_bus().recorder

    return attached if _is_ours(attached) else None


def flush() -> None:
    """Return when all that happened on the bus in force is in the journal.

    Runs and hooks that still execute are not waited for. Where nothing is recorded it does nothing.

    Raises:
        JournalError: the journal cannot be written, or this thread is in a transaction of a hook's
            own, or this call has interrupted a commit, for example from a signal handler.
    """
    check_flushable()
    own = recorder()
    if own is not None and not own.flush():
        raise JournalError(
            "Not all that happened could be written to the journal; the log says why, unless this "
            "call interrupted a commit. What is left is written once that is possible: flush again."
        )


def check_flushable() -> None:
    """Refuse to flush where it would wait for this thread itself.

    Raises:
        JournalError: this thread is in a transaction of a hook's own.
    """
    own = recorder()
    if own is not None and own.journal.in_transaction():
        raise JournalError(
            "Nothing else can be written to the journal in a transaction of a hook's own; flush "
            "after the block of `runtime.hook.transaction()`."
        )
