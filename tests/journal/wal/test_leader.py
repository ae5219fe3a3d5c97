"""Who of several threads does what all of them wait for, and when the others go on."""

from __future__ import annotations

import threading

import pytest

from eventflow.journal.wal import leader as module
from eventflow.journal.wal.leader import CommitLeader


@pytest.fixture(autouse=True)
def only_when_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no thread check by itself, which would hide that it is not woken."""
    monkeypatch.setattr(module, "POLL_SECONDS", 3600.0)


class Work:
    """Work that takes until it is let go on, and is over after so many times."""

    def __init__(self, times: int = 1) -> None:
        self.remaining = times
        self.begun, self.release = threading.Semaphore(0), threading.Semaphore(0)
        self.doers: list[str] = []
        self.checked = threading.Semaphore(0)

    def is_done(self) -> bool:
        self.checked.release()
        return not self.remaining

    def do(self) -> None:
        self.doers.append(threading.current_thread().name)
        self.begun.release()
        assert self.release.acquire(timeout=60)
        self.remaining -= 1


def test_work_that_is_done_is_not_done_again() -> None:
    """No thread works, or waits for the holder of the lock."""
    lock = threading.RLock()
    others = threading.Thread(target=CommitLeader(lock).wait, args=(lambda: True, lambda: 1 / 0))
    with lock:
        others.start()
        others.join(60)

    assert not others.is_alive()


def test_one_thread_works_for_all() -> None:
    """Those that come in the meantime go on when it is done, without the lock."""
    work, leader = Work(), CommitLeader(threading.RLock())
    threads = [threading.Thread(target=leader.wait, args=(work.is_done, work.do)) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert work.begun.acquire(timeout=60)
    for _ in threads:
        assert work.checked.acquire(timeout=60)
    work.release.release()
    for thread in threads:
        thread.join(60)

    assert not any(thread.is_alive() for thread in threads)
    assert len(work.doers) == 1


def test_another_thread_works_if_one_fails() -> None:
    """The failing thread gets the error; the others do not wait for ever."""
    leader, failed, done = CommitLeader(threading.RLock()), threading.Event(), threading.Event()
    begun, release = threading.Event(), threading.Event()

    def fail() -> None:
        begun.set()
        assert release.wait(60)
        raise KeyboardInterrupt

    def first() -> None:
        try:
            leader.wait(done.is_set, fail)
        except KeyboardInterrupt:
            failed.set()

    checked = threading.Event()

    def is_done() -> bool:
        checked.set()
        return done.is_set()

    failing = threading.Thread(target=first)
    other = threading.Thread(target=leader.wait, args=(is_done, done.set))
    failing.start()
    assert begun.wait(60)
    other.start()
    assert checked.wait(60)
    release.set()
    for thread in (failing, other):
        thread.join(60)

    assert failed.is_set()
    assert done.is_set()
    assert not other.is_alive()


def test_work_done_elsewhere_is_noticed_after_a_wake() -> None:
    """A thread that waits while the lock is held elsewhere checks again when it is woken."""
    work, lock = Work(), threading.RLock()
    leader = CommitLeader(lock)
    waiting = threading.Thread(target=leader.wait, args=(work.is_done, work.do))
    with lock:
        waiting.start()
        assert work.checked.acquire(timeout=60)
        work.remaining = 0
    leader.wake()
    # If it began to wait only now, it took the lock and checked by itself.
    waiting.join(60)

    assert not waiting.is_alive()
    assert work.doers == []


def test_a_thread_that_is_not_woken_checks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that worked may be interrupted before it wakes the others."""
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    work, lock = Work(), threading.RLock()
    waiting = threading.Thread(target=CommitLeader(lock).wait, args=(work.is_done, work.do))
    with lock:
        waiting.start()
        for _ in range(3):
            assert work.checked.acquire(timeout=60)
        work.remaining = 0
        waiting.join(60)

    assert not waiting.is_alive()
    assert work.doers == []


def test_the_work_may_wait_as_well() -> None:
    """The lock is reentrant, so that a signal handler that interrupts the work can wait too."""
    leader = CommitLeader(threading.RLock())
    done: list[str] = []

    def outer() -> None:
        leader.wait(lambda: "inner" in done, lambda: done.append("inner"))
        done.append("outer")

    leader.wait(lambda: "outer" in done, outer)

    assert done == ["inner", "outer"]
