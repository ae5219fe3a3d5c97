"""What was held back is told on time where the process goes on."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from eventflow import notify, task
from eventflow.notifications import Notifier, reminders
from eventflow.notifications.limits import Limits, limits_of
from tests.notifications.conftest import Receiver

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Have limits by a clock that the test sets."""
    times = [1_000_000.0]
    make = Limits.__init__
    limits_of.cache_clear()
    monkeypatch.setattr(Limits, "__init__", lambda self, key: make(self, key, lambda: times[0]))

    return times


class Timers(list[Any]):
    """The timers that were started; each goes off when it is told to."""

    def make(self, seconds: float, call: Any, args: Any) -> Any:
        """Make a timer."""
        timer = threading.Timer(0, lambda: (self.due.wait(60), call(*args)))
        self.append(seconds)

        return timer

    def __init__(self) -> None:
        super().__init__()
        self.due = threading.Event()


def test_it_is_told_without_another_failure(
    receiver: Receiver, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one timer, however many are held back; and once more if that fails."""
    timers = Timers()
    monkeypatch.setattr(reminders, "Timer", timers.make)
    work = task(on_failure=[notify(receiver.url, group_seconds=60)], name="work")(lambda: 1 // 0)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            work()
    assert receiver.posted.acquire(timeout=30)
    assert timers == [pytest.approx(60, abs=1)]
    receiver.status = 500
    now[0] += 60
    timers.due.set()
    assert receiver.posted.acquire(timeout=30)
    assert "2 like it in 1 minute" in receiver.posts[-1]["message"]
    while running := [each for each in threading.enumerate() if isinstance(each, threading.Timer)]:
        running[0].join(30)
    # The next one was told to go off at once: nothing is due before a minute has passed.
    assert timers == [pytest.approx(60, abs=1)] * 2


def test_the_end_of_the_process_has_it_told(
    receiver: Receiver, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the process that has sent the first of them."""
    timers = Timers()
    monkeypatch.setattr(reminders, "Timer", timers.make)

    def fail(alert: Notifier, times: int) -> None:
        work = task(on_failure=[alert], name="work")(lambda: 1 // 0)
        for _ in range(times):
            with pytest.raises(ZeroDivisionError):
                work()

    fail(notify(receiver.url, group_seconds=600), 3)
    now[0] += 5
    # One with the same URLs and limits counts with it.
    fail(notify(receiver.url, group_seconds=600), 2)
    now[0] += 5
    reminders.finish()
    timers.due.set()
    assert [post["message"].partition(".\n")[0] for post in receiver.posts[1:]] == [
        "4 like it in 10.0 s"
    ]


def test_a_child_tells_nothing_of_its_parent(
    receiver: Receiver, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    timers = Timers()
    monkeypatch.setattr(reminders, "Timer", timers.make)
    work = task(on_failure=[notify(receiver.url, group_seconds=600)], name="work")(lambda: 1 // 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            work()
    pid = os.fork()
    if not pid:
        reminders.finish()
        os._exit(0)
    os.waitpid(pid, 0)
    assert len(receiver.posts) == 1
    reminders.finish()
    timers.due.set()
    assert len(receiver.posts) == 2
