"""A home of its own for each test, processes that start together, and a server that is Slack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from eventflow import settings
from eventflow.settings import SETTINGS

ROOT = Path(settings.__file__).parents[1]
PATH = "/services/T000/B000/hunter2hunter2"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a home of its own, which is not made yet, and no proxy."""
    for name in (*SETTINGS, "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    monkeypatch.setenv("EVENTFLOW_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def together() -> Callable[[str, int], list[str]]:
    """Give a function that runs code in several processes at once, and gives what they print."""

    def run(code: str, count: int) -> list[str]:
        # Each process imports first and then waits for a line, so that all start as one.
        code = f"from eventflow.blocks import *\nnumber = int(input())\n{code}"
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", code],
                cwd=ROOT,
                env=os.environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(count)
        ]
        for number, process in enumerate(processes):
            assert process.stdin is not None
            process.stdin.write(f"{number}\n")
            process.stdin.flush()

        ends = [process.communicate(timeout=60) for process in processes]
        assert [error for _, error in ends] == [""] * count
        return [output for output, _ in ends]

    return run


@dataclass
class Slack:
    """A server on the loopback that records what is posted, and answers as it is told."""

    status: int = 200
    body: bytes = b"ok"
    manner: str = "plain"
    posts: list[dict[str, Any]] = field(default_factory=list)
    posted: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Take one post."""
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
    """Run a server that takes what is meant for Slack."""
    service = Slack()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            # The client of a hanging server goes away; that is the test.
            with suppress(OSError):
                service.answer(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Keep the output of the tests clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        service.url = f"http://127.0.0.1:{server.server_port}{PATH}"
        yield service
        service.done.set()
        server.shutdown()
        thread.join()
