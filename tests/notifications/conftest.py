"""A server on loopback that notifications are sent to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from tests.local_server import serving as serving_posts

TOKEN = "hunter2hunter2"


@dataclass
class Receiver:
    """Records what is posted, and answers as the test sets: with a status, or not at all."""

    status: int = 200
    hangs: bool = False
    posts: list[dict[str, Any]] = field(default_factory=list)
    posted: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    done: threading.Event = field(default_factory=threading.Event)
    address: str = ""

    @property
    def url(self) -> str:
        """An apprise URL of the server, with a secret in its path."""
        return f"json://{self.address}/{TOKEN}"

    @property
    def webhook(self) -> str:
        """The same for Slack."""
        return f"http://{self.address}/{TOKEN}"

    @property
    def titles(self) -> list[str]:
        """The titles of what was posted."""
        return [post["title"] for post in self.posts]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Record a post, and answer it."""
        self.posts.append(json.loads(request.rfile.read(int(request.headers["Content-Length"]))))
        self.posted.release()
        if self.hangs:
            self.done.wait()
        request.send_response(self.status)
        request.send_header("Content-Length", "0")
        request.end_headers()


@contextmanager
def serving() -> Iterator[Receiver]:
    """Run the server within the block."""
    service = Receiver()

    with serving_posts(service.answer, service.done) as address:
        service.address = address
        yield service


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Run the server."""
    with serving() as service:
        yield service


@pytest.fixture
def other() -> Receiver:
    """Return a receiver that nobody serves: what is sent to it is refused."""
    return Receiver(address="127.0.0.1:1")
