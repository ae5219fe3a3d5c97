"""How a thread waits while it may be interrupted."""

from __future__ import annotations

import threading

from eventflow.interrupts.masks import this_thread
from eventflow.interrupts.waiting import Wakeup, wait


def test_a_wait_ends_when_it_is_woken_or_its_time_is_over() -> None:
    """It returns which; a wakeup that was set before ends one wait."""
    wakeup = Wakeup()
    assert not wait(wakeup, 0.001)
    wakeup.set()
    wakeup.set()
    assert wait(wakeup)
    assert not wait(wakeup, 0)
    wakeup.set()
    wakeup.clear()
    assert not wait(wakeup, 0.001)
    assert this_thread.mask.waiting_for is None


def test_a_wait_in_another_thread_is_woken() -> None:
    """Its timeout may be longer than Python can wait."""
    results: list[bool] = []
    wakeup = Wakeup()
    thread = threading.Thread(target=lambda: results.append(wait(wakeup, 1e300)))
    thread.start()
    wakeup.set()
    thread.join(30)
    assert results == [True]
