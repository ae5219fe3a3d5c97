"""Turns: a lock for a short section of code that many threads enter very often."""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager
from typing import Final

__all__ = ["Turns"]

POLL_SECONDS: Final = 50e-6
"""How long a waiting thread sleeps before it looks again."""

WAIT_SECONDS: Final = 1.0
"""After how long it waits for the lock itself."""


class Turns:
    """A reentrant lock that threads wait for by polling.

    Whoever waits for a lock in the system gets it at its release, and cannot go on before it has
    the interpreter's lock too. Until then each other thread finds it locked and waits in the system
    as well: from the first such moment on, each entering costs a switch of threads. A thread that
    polls has no lock while it waits for the interpreter.

    Most callers enter by `with turns.free(), turns:`. Where each call of a function counts, do by
    hand what that does.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.taken = False
        """Whether a thread is in the section."""
        # Its `notify` raises unless this thread has the lock: that is how this is found out.
        self._owned = threading.Condition(self.lock)

    def free(self) -> AbstractContextManager[object]:
        """Return the lock, once no other thread is in the section."""
        if self.taken:
            self.wait()

        return self.lock

    def __enter__(self) -> None:
        """Note that this thread, which has the lock, is in the section."""
        self.taken = True

    def __exit__(self, *details: object) -> None:
        self.taken = False

    def wait(self) -> None:
        """Return when no other thread is in the section, or when one is for unusually long."""
        try:
            self._owned.notify()
        except RuntimeError:
            end = time.monotonic() + WAIT_SECONDS
            while self.taken and time.monotonic() < end:
                time.sleep(POLL_SECONDS)
