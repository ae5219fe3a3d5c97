"""Events that come in: each at least once, in order, acknowledged after the listener."""

from __future__ import annotations

import queue
import sys
import threading
from typing import Any

import pytest

from eventflow import task
from eventflow.errors import MissingExtraError
from eventflow.forwarding import CloudEvent, forward, subscribe_remote
from eventflow.forwarding.endpoints import read_endpoint
from eventflow.forwarding.streams import RedisSender
from eventflow.testing import isolated
from tests.forwarding.redis_server import Server, needs_redis
from tests.forwarding.together import an_event

pytestmark = needs_redis

WAIT = 30


class Heard(queue.SimpleQueue[CloudEvent]):
    """Puts what it is called with, and fails on some of it so often."""

    def __init__(self, **failures: int) -> None:
        super().__init__()
        self.failures = {name.strip("_"): count for name, count in failures.items()}
        self.calls: list[str] = []
        self.called = threading.Semaphore(0)

    def __call__(self, event: CloudEvent) -> None:
        self.calls.append(event.id)
        self.called.release()
        if self.failures.get(event.id, 0) > 0:
            self.failures[event.id] -= 1
            raise ValueError("not now")
        self.put(event)

    def ids(self, count: int) -> list[str]:
        """Wait for so many events; return their ids."""
        return [self.get(timeout=WAIT).id for _ in range(count)]


def send(server: Server, *numbers: int) -> None:
    """Append events to the stream."""
    sender = RedisSender(read_endpoint(server.url(), None), 1, 10.0)
    for number in numbers:
        sender.send(an_event(number))


def pending(server: Server) -> int:
    """Return how many entries are not acknowledged."""
    with server.client() as client:
        found: Any = client.xpending("events", "ops")

    return int(found["pending"])


def test_what_another_home_forwards_is_heard_in_order(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the beginning of the stream; as events that can be read back."""
    monkeypatch.setenv("EVENTFLOW_HOST_ID", "another")
    with isolated():
        forward(server.url())
        task(name="work")(lambda: 1)()
    monkeypatch.delenv("EVENTFLOW_HOST_ID")
    heard = Heard()
    with subscribe_remote(server.url(), heard, group="ops"):
        states = [heard.get(timeout=WAIT).transition().to_state.name for _ in range(3)]
    assert states == ["Pending", "Running", "Completed"]
    assert pending(server) == 0


def test_what_this_home_has_sent_is_passed_over(server: Server) -> None:
    """It is acknowledged, and goes in no circle."""
    heard = Heard()
    with forward(server.url()):
        task(name="work")(lambda: 1)()
    send(server, 1)
    with subscribe_remote(server.url(), heard, group="ops"):
        assert heard.ids(1) == ["1"]
    assert heard.calls == ["1"]
    assert pending(server) == 0


def test_one_that_fails_is_heard_again_before_the_next(server: Server) -> None:
    send(server, 1, 2)
    heard = Heard(_1=2)
    with subscribe_remote(server.url(), heard, group="ops", retry_delay_seconds=0):
        assert heard.ids(2) == ["1", "2"]
    assert heard.calls == ["1", "1", "1", "2"]


def test_a_poison_message_is_kept_apart_and_the_rest_goes_on(server: Server) -> None:
    """What always fails, and what is no CloudEvent at all."""
    send(server, 1)
    with server.client() as client:
        client.xadd("events", {"event": "nonsense"})
    send(server, 2)
    heard = Heard(_1=99)
    with subscribe_remote(server.url(), heard, group="ops", retries=1, retry_delay_seconds=0):
        assert heard.ids(1) == ["2"]
    assert heard.calls == ["1", "1", "2"]
    with server.client() as client:
        dead: Any = client.xrange("events:dead")
    assert [fields.get(b"id") for _, fields in dead] == [b"1", None]
    assert pending(server) == 0


def test_what_was_not_acknowledged_comes_again(server: Server) -> None:
    """To the next subscription of this home: the first ended while the listener failed."""
    send(server, 1, 2)
    heard = Heard(_1=1)
    first = subscribe_remote(server.url(), heard, group="ops", retry_delay_seconds=3600)
    assert heard.called.acquire(timeout=WAIT)
    first.cancel()
    assert pending(server) == 2
    with subscribe_remote(server.url(), heard, group="ops"):
        assert heard.ids(2) == ["1", "2"]


def test_what_was_deleted_meanwhile_is_acknowledged(server: Server) -> None:
    send(server, 1, 2)
    heard = Heard(_1=1)
    first = subscribe_remote(server.url(), heard, group="ops", retry_delay_seconds=3600)
    assert heard.called.acquire(timeout=WAIT)
    first.cancel()
    with server.client() as client:
        found: Any = client.xrange("events", count=1)
        client.xdel("events", found[0][0])
    with subscribe_remote(server.url(), heard, group="ops"):
        assert heard.ids(1) == ["2"]
    assert pending(server) == 0


def test_a_server_that_is_killed_is_read_again(server: Server) -> None:
    send(server, 1)
    heard = Heard()
    with subscribe_remote(server.url(), heard, group="ops"):
        assert heard.ids(1) == ["1"]
        server.kill()
        server.start()
        send(server, 2)
        heard_then = heard.ids(1)
        # The acknowledgement of the first may have been lost with the server.
        assert (heard_then if heard_then == ["2"] else heard.ids(1)) == ["2"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("http://localhost/", print), ValueError, "reads streams of Redis, not http://localhost"),
        (("redis://localhost/0", print), ValueError, "name a stream"),
        (("env:EVENTS", 7), TypeError, "listener must be callable"),
    ],
)
def test_what_is_wrong_is_refused(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        subscribe_remote(*arguments, group="ops")
    with pytest.raises(ValueError, match="group must be the name of a consumer group"):
        subscribe_remote("env:EVENTS", print, group="")


def test_without_the_driver_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    for name in ("remote", "streams"):
        monkeypatch.delitem(sys.modules, f"eventflow.forwarding.{name}")
    with pytest.raises(MissingExtraError, match=r"pip install 'eventflow-runtime\[redis\]'"):
        __import__("eventflow.forwarding.remote")
