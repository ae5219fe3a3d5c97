"""A server on loopback in the place of Slack."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from tests.local_server import serving as serving_posts

PATH = "/services/T000/B000/hunter2hunter2"


@dataclass
class Slack:
    """A server on the loopback that records what is posted, and answers as the test sets."""

    status: int = 200
    body: bytes = b"ok"
    manner: str = "plain"
    posts: list[dict[str, Any]] = field(default_factory=list)
    posted: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Record a post, and answer it."""
        body = request.rfile.read(int(request.headers["Content-Length"]))
        self.posts.append(json.loads(body))
        self.posted.set()
        if self.manner == "hang":
            self.done.wait()

        elif self.manner == "drip":
            request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
            while not self.done.wait(0.02):
                request.wfile.write(b"x")

        else:
            request.send_response(self.status)
            request.send_header("Content-Length", str(len(self.body)))
            request.end_headers()
            request.wfile.write(self.body)


@pytest.fixture
def slack() -> Iterator[Slack]:
    """Run a server in the place of Slack."""
    service = Slack()

    with serving_posts(service.answer, service.done) as address:
        service.url = f"http://{address}{PATH}"
        yield service
