"""A receiver on loopback that events are forwarded to."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

import pytest

from eventflow.forwarding import CloudEvent
from tests.forwarding.redis_server import Server
from tests.local_server import serving as serving_posts

TOKEN = "hunter2hunter2"


class Post(NamedTuple):
    """A request: its content type, its headers and its JSON."""

    kind: str
    headers: dict[str, str]
    content: Any

    @property
    def events(self) -> list[CloudEvent]:
        """The events in it."""
        contents = self.content if isinstance(self.content, list) else [self.content]

        return [CloudEvent.model_validate(each) for each in contents]


@dataclass
class Receiver:
    """Records what is posted, and answers as the test sets.

    `answers` are the statuses of the next requests, after which it accepts them, unless `refuses`
    says of one of its events that it does not.
    """

    answers: deque[int] = field(default_factory=deque)
    refuses: Callable[[CloudEvent], bool] = lambda event: False
    status_of_refusal: int = 400
    hangs: bool = False
    posts: list[Post] = field(default_factory=list)
    accepted: list[CloudEvent] = field(default_factory=list)
    posted: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    done: threading.Event = field(default_factory=threading.Event)
    address: str = ""

    @property
    def url(self) -> str:
        """The URL of the receiver, with a secret in its path."""
        return f"http://{self.address}/{TOKEN}"

    @property
    def types(self) -> list[str]:
        """The types of the events that were accepted, without what all have in common."""
        return [event.type.removeprefix("eventflow.") for event in self.accepted]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Record a post, and answer it."""
        content = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        post = Post(request.headers["Content-Type"], dict(request.headers), content)
        self.posts.append(post)
        self.posted.release()
        if self.hangs:
            self.done.wait()
        status = self.answers.popleft() if self.answers else 204
        if status == 204 and any(map(self.refuses, post.events)):
            status = self.status_of_refusal
        if status == 204:
            self.accepted += post.events
        body = b"" if status == 204 else f"no {TOKEN}".encode()
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


@contextmanager
def serving() -> Iterator[Receiver]:
    """Run the receiver within the block."""
    receiver = Receiver()

    with serving_posts(receiver.answer, receiver.done) as address:
        receiver.address = address
        yield receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Run the receiver."""
    with serving() as service:
        yield service


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
