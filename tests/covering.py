"""Keeping an interrupt from leaving the lock of coverage taken, on which all threads would wait.

Coverage takes its lock with a function in Python, at each call that it traces, and an exception
that is raised in a thread from outside may arrive between the two. Tests raise many.
"""

from __future__ import annotations

from typing import Any

import coverage

__all__ = ["harden"]


def harden() -> bool:
    """Have the lock of a running coverage taken without a step of Python; says if there is one."""
    running = coverage.Coverage.current()
    collector = None if running is None else running._collector
    if collector is None or collector.data_lock is None:
        return False
    take, give_back = collector.data_lock.acquire, collector.data_lock.release
    # The collector's own are what tracers of later threads are given.
    every: list[Any] = [collector, *collector.tracers]
    for one in every:
        one.lock_data, one.unlock_data = take, give_back

    return True
