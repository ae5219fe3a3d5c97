"""Reminds notifiers of what they have held back: on time, and at the end of the process."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from contextlib import suppress
from threading import Timer
from typing import Final

from eventflow.primitives.forks import renewed

__all__ = ["finish", "remind"]

_SLACK_SECONDS: Final = 0.1
"""How much later than planned a timer goes off: clocks differ."""

_lock = threading.Lock()
renewed(globals(), "_lock", threading.Lock)
_timers: dict[str, Timer] = {}
renewed(globals(), "_timers", dict)
_ends: dict[str, Callable[[], object]] = {}
renewed(globals(), "_ends", dict)


def remind(
    notifier: str, seconds: float, on_time: Callable[[], object], at_end: Callable[[], object]
) -> None:
    """Have a notifier tell what it has held back in so long, and at the end of the process.

    It has one timer, whatever it is reminded of while that runs.
    """
    with _lock:
        if not _ends:
            atexit.register(finish)
        _ends[notifier] = at_end
        if notifier in _timers:
            return
        timer = _timers[notifier] = Timer(seconds + _SLACK_SECONDS, _go_off, [notifier, on_time])
        timer.daemon = True
        # While the interpreter shuts down, no thread can be started.
        with suppress(RuntimeError):
            timer.start()


def _go_off(notifier: str, on_time: Callable[[], object]) -> None:
    with _lock:
        _timers.pop(notifier, None)
    on_time()


def finish() -> None:
    """Have every notifier tell what is left to tell by this process."""
    with _lock:
        ends = [*_ends.values()]
        _ends.clear()
    atexit.unregister(finish)
    for end in ends:
        end()
