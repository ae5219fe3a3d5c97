"""Of several threads that wait for the same work, one does it for all."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

__all__ = ["CommitLeader"]

POLL_SECONDS: Final = 1.0
"""After how long a waiting thread checks by itself, as an interrupt may have prevented `wake`."""


class CommitLeader:
    """Elects one of the waiting threads: whichever holds `lock`, which is reentrant, does the work.

    The threads do not wait for the lock itself. It could go to the same thread again and again,
    which has new work each time, although the work of the others has long been done.
    """

    def __init__(self, lock: threading.RLock | None = None) -> None:
        self._lock = lock or threading.RLock()
        self._waiting: deque[threading.Lock] = deque()

    def wait(self, is_done: Callable[[], bool], work: Callable[[], object]) -> None:
        """Return when the work is done; do it for all if no other thread is doing it.

        Whoever does the work without waiting here must call `wake` after releasing the lock.
        """
        while not is_done():
            wakeup = threading.Lock()
            wakeup.acquire()
            self._waiting.append(wakeup)
            # In this order: the leader releases the lock first, and then wakes the waiting threads.
            if self._lock.acquire(blocking=False):
                try:
                    if not is_done():
                        work()
                finally:
                    self._lock.release()
                    self.wake()
            wakeup.acquire(timeout=POLL_SECONDS)

    def wake(self) -> None:
        """Have all waiting threads check whether the work is done."""
        while self._waiting:
            with suppress(IndexError):  # another thread wakes them as well
                self._waiting.popleft().release()
