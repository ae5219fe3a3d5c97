"""Turns: a lock for a short section of code that many threads enter very often."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
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

    `turn` is for most callers. Where each call of a function counts, do by hand what it does.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.taken = False
        """Whether a thread is in the section."""
        # Its `notify` raises unless this thread has the lock: that is how this is found out.
        self._owned = threading.Condition(self.lock)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Have the lock within a `with` block."""
        if self.taken:
            self.wait()
        with self.lock:
            self.taken = True
            try:
                yield
            finally:
                self.taken = False

    def wait(self) -> None:
        """Return when no other thread is in the section, or when one is for unusually long."""
        try:
            self._owned.notify()
        except RuntimeError:
            end = time.monotonic() + WAIT_SECONDS
            while self.taken and time.monotonic() < end:
                time.sleep(POLL_SECONDS)
