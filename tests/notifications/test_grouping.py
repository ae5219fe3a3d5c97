"""Failures that are alike are told of once, and then how many there were."""

from __future__ import annotations

import logging

import pytest

from eventflow import flow, notify, task
from eventflow.notifications import Notification, Notifier, notifier
from eventflow.notifications.limits import Limits, limits_of
from tests.notifications.conftest import Receiver

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

now = [1_000_000.0]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Have limits by a clock that the tests set, and no timer."""
    make = Limits.__init__
    limits_of.cache_clear()
    monkeypatch.setattr(
        Limits, "__init__", lambda self, notifier: make(self, notifier, lambda: now[0])
    )
    monkeypatch.setattr(notifier, "remind", lambda *_: None)
    return now


def failing(alert: Notifier, name: str = "etl") -> None:
    @flow(name=name, on_failure=[alert])
    def etl() -> None:
        raise ValueError("bad row")

    with pytest.raises(ValueError, match="bad row"):
        etl()


def test_what_is_alike_is_told_of_once(receiver: Receiver, clock: list[float]) -> None:
    alert = notify(receiver.url, group_seconds=300)
    for _ in range(13):
        failing(alert)
    assert len(receiver.posts) == 1
    failing(alert, name="other")
    assert len(receiver.posts) == 2
    clock[0] += 300
    alert.tell_held()
    alert.tell_held()
    assert len(receiver.posts) == 3
    told = receiver.posts[2]
    assert told["message"].startswith(
        "12 like it in 5 minutes.\nThe last of them:\nValueError: bad"
    )
    assert told["title"].startswith("Flow etl/")
    assert told["type"] == "warning"


def test_the_next_failure_has_what_was_held_back_told(
    receiver: Receiver, clock: list[float]
) -> None:
    """Also where the process that held it back has ended: here another notifier like it."""
    for _ in range(3):
        failing(notify(receiver.url, group_seconds=90))
    clock[0] += 90
    failing(notify(receiver.url, group_seconds=90))
    first, summary, last = receiver.posts
    assert summary["message"].startswith("2 like it in 1 min 30 s.")
    assert first["message"].startswith("ValueError")
    assert last["message"].startswith("ValueError")


def test_there_are_so_many_in_a_minute(receiver: Receiver, clock: list[float]) -> None:
    alert = notify(receiver.url, per_minute=2)
    work = task(on_failure=[alert], name="work")(lambda n: 1 // n)

    @flow
    def etl() -> None:
        work.map([0] * 7).wait()

    etl()
    assert len(receiver.posts) == 2
    clock[0] += 60
    alert.tell_held()
    assert receiver.posts[2]["message"].startswith("5 more in 1 minute.")


def test_without_limits_all_are_sent(receiver: Receiver) -> None:
    alert = notify(receiver.url, per_minute=None)
    for _ in range(25):
        alert_once(alert)
    assert len(receiver.posts) == 25


def alert_once(alert: Notifier) -> None:
    work = task(on_failure=[alert])(lambda n: 1 // n)
    with pytest.raises(ZeroDivisionError):
        work(0)


def test_a_summary_that_fails_is_logged_and_told_later(
    receiver: Receiver, clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    alert = notify(receiver.url, group_seconds=60)
    failing(alert)
    failing(alert)
    receiver.status = 500
    clock[0] += 60
    with caplog.at_level(logging.ERROR):
        alert.tell_held()
    assert "cannot tell what was held back" in caplog.text
    receiver.status = 200
    clock[0] += 60
    alert.tell_held()
    assert receiver.posts[-1]["message"].startswith("1 like it in 1 minute.")


def test_a_home_that_cannot_be_used_limits_nothing(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notification is worth more than its limit."""
    monkeypatch.setenv("EVENTFLOW_HOME", "/proc/nowhere")
    monkeypatch.setenv("EVENTFLOW_DURABILITY", "off")
    alert = notify(receiver.url, group_seconds=60)
    failing(alert)
    failing(alert)
    assert len(receiver.posts) == 2
    assert "sends without a limit" in caplog.text


def test_what_could_not_be_told_holds_nothing_back(receiver: Receiver) -> None:
    """Neither where the service refused it, nor where its template failed."""
    broken = [True]

    def template(told: Notification) -> str:
        if broken.pop():
            raise ValueError("no text")
        return told.text

    alert = notify(receiver.url, group_seconds=300, template=template)
    failing(alert)
    assert receiver.posts == []
    receiver.status = 500
    broken[:] = [False, False, False]
    failing(alert)
    receiver.status = 200
    failing(alert)
    failing(alert)
    assert len(receiver.posts) == 2
