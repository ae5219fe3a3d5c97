"""A forked child finds locks free that a thread of its parent holds."""

from __future__ import annotations

import os
import threading

from eventflow.primitives.forks import in_children, renewed
from tests.forked import in_a_fork


def test_a_child_has_a_lock_of_its_own() -> None:
    """The parent's is held by another thread all the while, and stays the parent's."""
    space: dict[str, threading.Lock] = {"lock": threading.Lock()}
    renewed(space, "lock", threading.Lock)
    mine, held, done = space["lock"], threading.Event(), threading.Event()

    def hold() -> None:
        with mine:
            held.set()
            done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60)
    assert in_a_fork(lambda: space["lock"].acquire(blocking=False))
    assert space["lock"] is mine
    assert mine.locked()
    done.set()
    holder.join()


def test_what_is_called_in_a_child_is_called_there_only() -> None:
    """The parent does not hear of it."""
    called: list[int] = []
    in_children(lambda: called.append(os.getpid()))
    assert in_a_fork(lambda: called == [os.getpid()])
    assert called == []
