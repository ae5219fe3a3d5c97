"""What is prepared for a fork, by whichever thread forks."""

from __future__ import annotations

import threading
from weakref import WeakValueDictionary

import pytest

from eventflow.journal import forks


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
