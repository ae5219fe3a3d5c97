"""Forks: locks are replaced in a child, and objects are prepared for a fork."""

from __future__ import annotations

import os
import threading
from weakref import WeakValueDictionary

import pytest

from eventflow.primitives import forks
from eventflow.primitives.forks import in_children, renewed
from tests.forked import in_a_fork


def test_a_child_has_a_lock_of_its_own() -> None:
    """Another thread holds the parent's meanwhile, which the parent keeps."""
    namespace: dict[str, threading.Lock] = {"lock": threading.Lock()}
    renewed(namespace, "lock", threading.Lock)
    parents_lock, held, done = namespace["lock"], threading.Event(), threading.Event()

    def hold() -> None:
        with parents_lock:
            held.set()
            done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60)
    assert in_a_fork(lambda: namespace["lock"].acquire(blocking=False))
    assert namespace["lock"] is parents_lock
    assert parents_lock.locked()
    done.set()
    holder.join()


def test_what_is_called_in_a_child_is_called_there_only() -> None:
    """It is not called in the parent."""
    called: list[int] = []
    in_children(lambda: called.append(os.getpid()))
    assert in_a_fork(lambda: called == [os.getpid()])
    assert called == []


class Prepared:
    """Records which threads call it; `before_fork` may block one of them."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []
        self.blocked_thread = ""
        self.reached = threading.Event()
        self.may_go_on = threading.Event()

    def before_fork(self) -> None:
        """Record the call; block if it is from that thread."""
        name = threading.current_thread().name
        if name == self.blocked_thread:
            self.reached.set()
            self.may_go_on.wait()
        self.calls.append((name, "before"))

    def after_fork(self, *, child: bool) -> None:
        """Record the call."""
        self.calls.append((threading.current_thread().name, child))


def test_two_threads_fork_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each resumes all that it has prepared, and nothing that the other has."""
    monkeypatch.setattr(forks, "_watched", WeakValueDictionary())
    first, second = Prepared(), Prepared()
    second.blocked_thread = "blocked"
    forks.watch(first)
    forks.watch(second)

    def fork(*, child: bool) -> None:
        forks._before()
        forks._after(child=child)

    thread = threading.Thread(target=fork, kwargs={"child": True}, name="blocked")
    thread.start()
    second.reached.wait()
    fork(child=False)
    second.may_go_on.set()
    thread.join()
    name = threading.current_thread().name
    ours = [(name, "before"), (name, False)]
    assert first.calls == [("blocked", "before"), *ours, ("blocked", True)]
    assert second.calls == [*ours, ("blocked", "before"), ("blocked", True)]
