"""Streams of a real Redis: entries in order, killed and back, and what is refused for good."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from eventflow import bus, task
from eventflow.errors import MissingExtraError
from eventflow.events import HookFailed
from eventflow.forwarding import CloudEvent, ForwardingError, ForwardingRefused, forward
from eventflow.forwarding.endpoints import read_endpoint
from eventflow.forwarding.streams import RedisSender
from eventflow.testing import isolated
from tests.forwarding.together import an_event, send_together

PASSWORD = "hunter2hunter2"

pytestmark = pytest.mark.skipif(
    shutil.which("redis-server") is None and os.environ.get("CI") != "true",
    reason="there is no redis-server here",
)


class Server:
    """A Redis on a free port, which keeps what it has acknowledged."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start it, always on the same port, and wait until it answers."""
        for _ in range(10):
            port = self.port or _free_port()
            self._process = subprocess.Popen(
                ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir",
                 str(self._folder), "--appendonly", "yes", "--appendfsync", "always",
                 "--requirepass", PASSWORD],
                stdout=subprocess.PIPE,
                text=True,
            )  # fmt: skip
            assert self._process.stdout is not None
            # It says so before its output ends; another program may have taken the port.
            if any("eady to accept connections" in line for line in self._process.stdout):
                self.port = port
                self._process.stdout.close()
                return
            self.kill()
        raise AssertionError

    def url(self, stream: str = "events") -> str:
        """Return the URL of a stream."""
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0?stream={stream}"

    def client(self) -> redis.Redis:
        """Return a client."""
        return redis.Redis(port=self.port, password=PASSWORD)

    def entries(self) -> list[dict[bytes, bytes]]:
        """Return the entries of the stream."""
        with self.client() as client:
            found: Any = client.xrange("events")

        return [fields for _, fields in found]

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]

    return port


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start a Redis once for all tests."""
    server = Server(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def server(one_server: Server) -> Server:
    """Return the Redis, empty."""
    with one_server.client() as client:
        client.flushall()

    return one_server


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
