"""A forked child finds locks free that its parent holds, and what is prepared for a fork."""

from __future__ import annotations

import os
import threading
from weakref import WeakValueDictionary

import pytest

from eventflow.primitives import forks
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


class Prepared:
    """Keeps which thread prepared it, and which goes on; may hold one up."""

    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []
        self.slow = ""
        self.reached = threading.Event()
        self.go_on = threading.Event()

    def before_fork(self) -> None:
        """Be prepared, slowly if it is that thread."""
        name = threading.current_thread().name
        if name == self.slow:
            self.reached.set()
            self.go_on.wait()
        self.told.append((name, "before"))

    def after_fork(self, *, child: bool) -> None:
        """Go on."""
        self.told.append((threading.current_thread().name, child))


def test_two_threads_fork_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each goes on with all that it prepared, and with nothing of the other's."""
    monkeypatch.setattr(forks, "_watched", WeakValueDictionary())
    first, second = Prepared(), Prepared()
    second.slow = "slow"
    for one in (first, second):
        forks.watch(one)

    def fork(*, child: bool) -> None:
        forks._before()
        forks._after(child=child)

    thread = threading.Thread(target=fork, kwargs={"child": True}, name="slow")
    thread.start()
    second.reached.wait()
    fork(child=False)
    second.go_on.set()
    thread.join()
    me = threading.current_thread().name
    mine = [(me, "before"), (me, False)]
    assert first.told == [("slow", "before"), *mine, ("slow", True)]
    assert second.told == [*mine, ("slow", "before"), ("slow", True)]
