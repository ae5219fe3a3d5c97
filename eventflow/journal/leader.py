"""Taking turns: of all threads that wait for the same work, one does it for the others."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

__all__ = ["CommitLeader"]

LOOK_SECONDS: Final = 1.0
"""After how long who waits looks by itself: an interrupt may have kept others from waking it."""


class CommitLeader:
    """Threads that wait for some work, which is done by whoever holds `key`, a reentrant lock.

    To wait for the lock itself would not do: it may go to the same thread again and again, which
    has work of its own each time, while what the others wait for has long been done.
    """

    def __init__(self, key: threading.RLock) -> None:
        self._key = key
        self._waiting: deque[threading.Lock] = deque()

    def wait(self, over: Callable[[], bool], work: Callable[[], object]) -> None:
        """Come back when it is over; do the work for all if nobody else is at it.

        Who does it without waiting must call `wake`, once it has let go of the key.
        """
        while not over():
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
            # Only now: whoever is at it lets go of the key first, and then looks who waits.
            if self._key.acquire(blocking=False):
                try:
                    if not over():
                        work()
                finally:
                    self._key.release()
                    self.wake()
            turn.acquire(timeout=LOOK_SECONDS)

    def wake(self) -> None:
        """Have all who wait look whether it is over."""
        while self._waiting:
            with suppress(IndexError):  # another thread wakes them, too
                self._waiting.popleft().release()
