"""Streams of a real Redis: entries in order, killed and back, and what is refused for good."""

from __future__ import annotations

import sys

import pytest

from eventflow import bus, task
from eventflow.errors import MissingExtraError
from eventflow.events import HookFailed
from eventflow.forwarding import CloudEvent, ForwardingError, ForwardingRefused, forward
from eventflow.forwarding.endpoints import read_endpoint
from eventflow.forwarding.streams import RedisSender
from eventflow.testing import isolated
from tests.forwarding.redis_server import PASSWORD, Server, needs_redis
from tests.forwarding.together import an_event, send_together

pytestmark = needs_redis


def sender(url: str, batch_size: int = 1, timeout_seconds: float = 10.0) -> RedisSender:
    """Make a sender."""
    return RedisSender(read_endpoint(url, None), batch_size, timeout_seconds)


@task(name="work")
def work(number: int = 0) -> int:
    return number


def test_each_event_is_an_entry(server: Server) -> None:
    """With its id, by which a duplicate is known, and the CloudEvent."""
    with isolated():
        forward(server.url())
        work()
    entries = server.entries()
    events = [CloudEvent.model_validate_json(entry[b"event"]) for entry in entries]
    assert [event.sequence for event in events] == ["0000000000", "0000000001", "0000000002"]
    assert [entry[b"id"].decode() for entry in entries] == [event.id for event in events]
    assert events[-1].transition().to_state.name == "Completed"


def test_what_waits_is_sent_in_one_round_trip_in_its_order(server: Server) -> None:
    outcomes = send_together(sender(server.url(), batch_size=9), [1, 2, 3])
    assert outcomes == dict.fromkeys([1, 2, 3])
    assert [entry[b"id"] for entry in server.entries()] == [b"1", b"2", b"3"]


def test_a_server_that_is_killed_may_come_back(server: Server) -> None:
    """What it has acknowledged is there; what it has not is sent again."""
    stream = sender(server.url())
    stream.send(an_event(1))
    server.kill()
    with pytest.raises(ForwardingError) as caught:
        stream.send(an_event(2))
    assert not isinstance(caught.value, ForwardingRefused)
    server.start()
    stream.send(an_event(2))
    assert [entry[b"id"] for entry in server.entries()] == [b"1", b"2"]


def test_a_run_waits_for_a_server_that_comes_back(server: Server) -> None:
    """None is lost, none out of order."""
    with isolated():
        forward(server.url(), retries=1000, retry_delay_seconds=0.01)

        @task(name="work")
        def kill() -> None:
            server.kill()

        bus.subscribe(lambda _: server.start(), event_type=HookFailed, once=True)
        kill()
    assert [
        CloudEvent.model_validate_json(entry[b"event"]).sequence for entry in server.entries()
    ] == ["0000000000", "0000000001", "0000000002"]


def test_what_is_no_stream_refuses_for_good(server: Server) -> None:
    with server.client() as client:
        client.set("events", "a text")
    with pytest.raises(ForwardingRefused, match="wrong kind of value"):
        sender(server.url()).send(an_event(1))


def test_a_wrong_password_is_refused_for_good_and_not_shown(server: Server) -> None:
    url = server.url().replace(PASSWORD, "hunter3hunter3")
    with pytest.raises(ForwardingRefused) as caught:
        sender(url).send(an_event(1))
    assert "hunter" not in str(caught.value)


def test_a_variable_that_names_no_stream_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTS", "redis://localhost/0")
    with pytest.raises(ForwardingRefused, match="its URL names no stream"):
        sender("env:EVENTS").send(an_event(1))


def test_without_the_driver_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.delitem(sys.modules, "eventflow.forwarding.streams")
    with pytest.raises(MissingExtraError, match=r"pip install 'eventflow-runtime\[redis\]'"):
        __import__("eventflow.forwarding.streams")
