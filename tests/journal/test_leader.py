"""Who of several threads does what all of them wait for, and when the others go on."""

from __future__ import annotations

import threading

import pytest

from eventflow.journal import leader as module
from eventflow.journal.leader import CommitLeader


@pytest.fixture(autouse=True)
def only_when_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nobody look by itself, which would hide that nobody wakes it."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 3600.0)


class Work:
    """Work that takes until it is let go on, and is over after so many times."""

    def __init__(self, times: int = 1) -> None:
        self.left = times
        self.begun, self.go_on = threading.Semaphore(0), threading.Semaphore(0)
        self.doers: list[str] = []
        self.asked = threading.Semaphore(0)

    def over(self) -> bool:
        self.asked.release()
        return not self.left

    def do(self) -> None:
        self.doers.append(threading.current_thread().name)
        self.begun.release()
        assert self.go_on.acquire(timeout=60)
        self.left -= 1


def test_what_is_over_is_not_done() -> None:
    """Nobody works, and nobody waits for whoever has the key."""
    key = threading.RLock()
    others = threading.Thread(target=CommitLeader(key).wait, args=(lambda: True, lambda: 1 / 0))
    with key:
        others.start()
        others.join(60)

    assert not others.is_alive()


def test_one_does_it_for_all() -> None:
    """Those that come while it is done go on when it is, without the key."""
    work, turns = Work(), CommitLeader(threading.RLock())
    threads = [threading.Thread(target=turns.wait, args=(work.over, work.do)) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert work.begun.acquire(timeout=60)
    for _ in threads:
        assert work.asked.acquire(timeout=60)
    work.go_on.release()
    for thread in threads:
        thread.join(60)

    assert not any(thread.is_alive() for thread in threads)
    assert len(work.doers) == 1


def test_if_it_fails_another_one_does_it() -> None:
    """Whoever was at it has the error; the others do not wait for ever."""
    turns, failed, done = CommitLeader(threading.RLock()), threading.Event(), threading.Event()
    begun, go_on = threading.Event(), threading.Event()

    def fail() -> None:
        begun.set()
        assert go_on.wait(60)
        raise KeyboardInterrupt

    def first() -> None:
        try:
            turns.wait(done.is_set, fail)
        except KeyboardInterrupt:
            failed.set()

    asked = threading.Event()

    def over() -> bool:
        asked.set()
        return done.is_set()

    one = threading.Thread(target=first)
    other = threading.Thread(target=turns.wait, args=(over, done.set))
    one.start()
    assert begun.wait(60)
    other.start()
    assert asked.wait(60)
    go_on.set()
    for thread in (one, other):
        thread.join(60)

    assert failed.is_set()
    assert done.is_set()
    assert not other.is_alive()


def test_work_done_without_waiting_is_told_by_waking() -> None:
    """A thread that waits while the key is held elsewhere looks again when it is woken."""
    work, key = Work(), threading.RLock()
    turns = CommitLeader(key)
    waiting = threading.Thread(target=turns.wait, args=(work.over, work.do))
    with key:
        waiting.start()
        assert work.asked.acquire(timeout=60)
        work.left = 0
    turns.wake()
    # It may have come to its place only now: then it took the key, and looked by itself.
    waiting.join(60)

    assert not waiting.is_alive()
    assert work.doers == []


def test_who_is_not_woken_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever did the work was interrupted before it could tell."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    work, key = Work(), threading.RLock()
    waiting = threading.Thread(target=CommitLeader(key).wait, args=(work.over, work.do))
    with key:
        waiting.start()
        for _ in range(3):
            assert work.asked.acquire(timeout=60)
        work.left = 0
        waiting.join(60)

    assert not waiting.is_alive()
    assert work.doers == []


def test_what_is_done_within_the_work_may_wait_as_well() -> None:
    """The key is reentrant, so that a signal handler that interrupts the work can go through."""
    turns = CommitLeader(threading.RLock())
    done: list[str] = []

    def outer() -> None:
        turns.wait(lambda: "inner" in done, lambda: done.append("inner"))
        done.append("outer")

    turns.wait(lambda: "outer" in done, outer)

    assert done == ["inner", "outer"]
