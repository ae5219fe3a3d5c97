"""Waiting in a thread that may be interrupted meanwhile."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from time import monotonic
from types import FrameType

from eventflow.interrupts.masks import POLL_SECONDS, this_thread

__all__ = ["Wakeup", "check_timeout", "deadline_in", "remaining", "until_stopped", "wait"]


def check_timeout(timeout: float | None) -> None:
    """Check that a wait may be bounded by this.

    Raises:
        TypeError: it is not a number.
        ValueError: it is negative, or not a number of seconds at all.
    """
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout must be a number of seconds, or None, but got {timeout!r}.")
    if not timeout >= 0:
        raise ValueError(
            f"timeout must be 0 or more seconds, or None for no limit, but got {timeout!r}."
        )


def deadline_in(timeout: float | None) -> float | None:
    """Return when a wait that begins now is to end; raises as `check_timeout` does."""
    check_timeout(timeout)

    return None if timeout is None else monotonic() + timeout


def remaining(deadline: float | None) -> float | None:
    """Return the seconds that are left until a deadline."""
    return None if deadline is None else max(0.0, deadline - monotonic())


class Wakeup:
    """An event that one thread waits for and others set; a wait that it ends clears it.

    Not `threading.Event`, whose `wait` is Python code: an interrupt may be raised between any two
    of its lines, and be replaced by a RuntimeError of its lock.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Set the event; may be called from a signal handler."""
        with contextlib.suppress(RuntimeError):  # it is set already
            self._lock.release()

    def clear(self) -> None:
        """Clear the event."""
        self._lock.acquire(blocking=False)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set or `timeout` seconds have passed; return whether it was set."""
        # Python cannot wait longer than that, which is 292 years.
        longest = threading.TIMEOUT_MAX

        return self._lock.acquire(timeout=-1 if timeout is None else min(timeout, longest))


def wait(wakeup: Wakeup, timeout: float | None = None) -> bool:
    """Wait until it is set or `timeout` seconds have passed; return whether it was set.

    It is also set by `interrupt`, so that a body that waits here can be stopped.

    Raises:
        Interrupted: a body of this thread is to stop.
        KeyboardInterrupt, TerminationSignal: one was postponed.
    """
    mask = this_thread.mask
    mask.waiting_for = wakeup
    try:
        mask.raise_pending()
        if mask.ident != threading.main_thread().ident:
            is_set = wakeup.wait(timeout)
        else:
            is_set = _wait_in_main_thread(wakeup, timeout)
        mask.raise_pending()
    finally:
        mask.waiting_for = None

    return is_set


def _wait_in_main_thread(wakeup: Wakeup, timeout: float | None) -> bool:
    """Wait at most `POLL_SECONDS` at a time.

    A signal may arrive just before a wait begins, and Python handles it only when that wait ends.
    """
    deadline = None if timeout is None else monotonic() + timeout
    while True:
        remaining = None if deadline is None else max(0.0, deadline - monotonic())
        if wakeup.wait(POLL_SECONDS if remaining is None else min(remaining, POLL_SECONDS)):
            return True
        if remaining is not None and remaining <= POLL_SECONDS:
            return False


@contextlib.contextmanager
def until_stopped() -> Iterator[Wakeup]:
    """Yield an event that Ctrl-C and SIGTERM set, so that neither interrupts what is being done."""
    stopped = Wakeup()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
