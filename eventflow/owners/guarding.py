"""Start the guardian, and hand it the hooks that no other process can import."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Final

from eventflow.eventbus.deadlines import timer
from eventflow.hooks.declaration import Hook
from eventflow.hooks.handover import pack
from eventflow.interrupts.signals import watchers
from eventflow.owners import claims
from eventflow.owners.lifeline import Lifeline
from eventflow.owners.note import ENTRY_BYTES
from eventflow.primitives.loggers import get_logger
from eventflow.primitives.private_files import open_file
from eventflow.settings import EVENTFLOW_GUARDIAN, EVENTFLOW_GUARDIAN_GRACE_SECONDS

__all__ = ["EXIT", "Guarding", "read_endings"]

EXIT: Final = "exit"
"""What is noted where the process exits with runs that have not ended."""

NOTED: Final = "ending"
"""The file in the folder of an owner that says what it knows of its own end."""


class Guarding:
    """The guardian of this process, started by its first run with hooks."""

    def __init__(self, lifeline: Lifeline, folder: Path) -> None:
        self._lifeline = lifeline
        self._folder = folder
        self._enabled = EVENTFLOW_GUARDIAN.value()
        # Reentrant: a signal handler, or the pickling of a hook's objects, may run flows.
        self._lock = threading.RLock()
        self._logged: set[str] = set()
        self._wanted = False
        self._pid = os.getpid()
        timer.watchers.add(self)
        watchers.add(self)

    def replace_if_killed(self) -> None:
        """Replace the guardian if it was killed."""
        with self._lock:
            if self._wanted:
                self._start()

    def guard(self) -> None:
        """Have a guardian; another one is started if the last one was killed."""
        with self._lock:
            self._enabled = self._enabled and self._start()
            self._wanted = self._enabled

    def _start(self) -> bool:
        problem = self._lifeline.start()
        if problem is not None and problem not in self._logged:
            self._logged.add(problem)
            get_logger("guardian").warning(
                f"There is no guardian ({problem}): if this process is killed, the hooks it owes "
                "run when the next eventflow process starts, or by `eventflow recover`."
            )

        return problem is None

    def hand_over(self, key: str, hook: Hook, reason: str) -> None:
        """Hand a hook over by value under a key; `reason` is why it cannot be imported."""
        with self._lock:
            if not self._enabled:
                return
            packed, problem = _packed(hook)
            if packed is not None:
                problem = self._lifeline.hand_over(key, packed)
            if hook.id in self._logged:
                return
            self._logged.add(hook.id)
            log = get_logger("guardian")
            if problem is None:
                log.debug("The hook %s is handed over by value: it %s.", hook.id, reason)
            else:
                log.warning(
                    "The hook %s cannot be guaranteed: it %s, and %s. If this process is killed, "
                    "it does not run.",
                    hook.id,
                    reason,
                    problem,
                )

    def timer_planned(self, due: float, *, earlier: bool) -> None:
        """Have the guardian look a grace later whether this process delivers what is due."""
        if self._wanted:
            grace = EVENTFLOW_GUARDIAN_GRACE_SECONDS.value()
            self._lifeline.set_due(due + grace if isfinite(due) else None, earlier=earlier)

    def claim(self, delivery: str) -> bool:
        """Claim a delivery that is due because a state has lasted; False if the guardian has it."""
        return claims.claim(self._folder, delivery)

    def release(self, delivery: str) -> None:
        """Give up the claim of such a delivery, as its outcome is recorded."""
        claims.release(self._folder, delivery)

    def let_go(self, key: str) -> None:
        """Take back what was handed over under a key."""
        self._lifeline.let_go(key)

    def signal_received(self, number: int) -> None:
        """Note a signal that asks this process to end: it may not live to tell of it."""
        self._note(signal.Signals(number).name)

    def note_exit(self) -> None:
        """Note that this process exits, and leaves runs that have not ended."""
        self._note(EXIT)

    def _note(self, what: str) -> None:
        if os.getpid() != self._pid:
            return  # a child's end is not that of the owner
        with suppress(OSError):
            descriptor = open_file(self._folder / NOTED, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{what} {time.time()}\n")

    def dismiss(self) -> None:
        """Record a clean end, on which the guardian exits."""
        watchers.discard(self)
        with self._lock:
            self._wanted = False
            self._lifeline.dismiss()


def read_endings(folder: Path) -> list[tuple[str, float]]:
    """Return what an owner has noted of its own end, each with its time in seconds since 1970."""
    try:
        lines = (folder / NOTED).read_text("ascii").splitlines()
        return [(what, float(at)) for what, at in (line.split() for line in lines)]
    except (OSError, ValueError):
        return []


def _packed(hook: Hook) -> tuple[bytes | None, str | None]:
    """Pack a hook by value; return None and the reason if that is impossible."""
    try:
        packed = pack(hook)
    except Exception as error:  # noqa: BLE001 - pickling a user's object may raise anything
        return None, f"it cannot be handed over by value: {type(error).__name__}: {error}"
    if len(packed) > ENTRY_BYTES // 2:
        return None, f"its {len(packed)} bytes are too many to hand it over by value"

    return packed, None
