"""A server on loopback in the place of Slack."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

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

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            # The client of a hanging server disconnects, which is what is tested.
            with suppress(OSError):
                service.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        service.url = f"http://127.0.0.1:{server.server_port}{PATH}"
        yield service
        service.done.set()
        server.shutdown()
        thread.join()
