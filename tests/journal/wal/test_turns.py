"""Turns: one thread at a time, without waiting for a lock while others execute."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from eventflow.journal.wal import turns as module
from eventflow.journal.wal.turns import Turns


class WatchedLock:
    """A lock that notes which threads found it locked."""

    def __init__(self) -> None:
        self._lock: Any = threading.RLock()
        self.waited: list[str] = []

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self.waited.append(threading.current_thread().name)
            self._lock.acquire()

    def __exit__(self, *details: object) -> None:
        self._lock.release()


@pytest.fixture
def turns() -> Turns:
    turns = Turns()
    turns.lock = WatchedLock()  # type: ignore[assignment]

    return turns


def test_others_wait_until_it_is_free_and_never_for_the_lock(turns: Turns) -> None:
    """Four threads, one of which stays until all others have asked."""
    lock: Any = turns.lock
    inside, asked, order = threading.Event(), threading.Semaphore(0), list[int]()
    wait = turns.wait

    def wait_in_sight() -> None:
        asked.release()
        wait()

    turns.wait = wait_in_sight  # type: ignore[method-assign]

    def first() -> None:
        with turns.free(), turns:
            inside.set()
            for _ in range(3):
                assert asked.acquire(timeout=30)
            order.append(0)

    def other(number: int) -> None:
        assert inside.wait(30)
        with turns.free(), turns:
            order.append(number)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(first), *(pool.submit(other, number) for number in (1, 2, 3))]:
            done.result(30)

    assert order[0] == 0
    assert sorted(order) == [0, 1, 2, 3]
    assert lock.waited == []


def test_it_is_reentrant() -> None:
    """A signal handler may run a flow in the middle of a record: it waits for nobody."""
    turns = Turns()
    with turns.free(), turns, turns.free(), turns:
        assert turns.taken
    with turns.free(), turns:
        pass
    assert not turns.taken


def test_an_error_ends_the_turn(turns: Turns) -> None:
    with pytest.raises(ValueError, match="within"), turns.free(), turns:
        raise ValueError("within")
    assert not turns.taken


def test_a_thread_that_stays_for_long_is_waited_for_at_the_lock(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not burn the processor meanwhile."""
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.0)
    lock: Any = turns.lock
    left = threading.Event()

    def other() -> None:
        with turns.free(), turns:
            left.set()

    thread = threading.Thread(target=other, name="other")
    with turns.free(), turns:
        thread.start()
        while not lock.waited:
            pass
        assert not left.is_set()
    thread.join(30)
    assert left.is_set()
    assert lock.waited == ["other"]
