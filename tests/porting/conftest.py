"""Programs for Prefect, the shop that two of them ask, and what they print."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from eventflow import settings

ROOT = Path(settings.__file__).parents[2]
FOLDER = Path(__file__).parent
TIMEOUT_SECONDS = 120

PAGES = {
    "/orders?page=0": json.dumps([{"id": 1, "amount": 10.0}, {"id": 2, "amount": -1.0}]),
    "/orders?page=1": json.dumps([{"id": 3, "amount": 7.5}]),
    "/news": "<h1>All is well</h1>",
    "/weather": "<p>today</p><h1>Rain</h1>",
    "/empty": "",
}


class Shop(BaseHTTPRequestHandler):
    """Answers with a page; the first time that one is asked for, with an error."""

    asked: set[str]

    def do_GET(self) -> None:
        is_first = self.path not in self.asked
        self.asked.add(self.path)
        body = b"" if is_first else PAGES[self.path].encode()
        self.send_response(503 if is_first else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def shop() -> Iterator[str]:
    """Yield the address of a shop on this machine."""
    handler = type("Handler", (Shop,), {"asked": set()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def prints(program: str) -> str:
    """Return what a program prints, as the comment at its end says."""
    return re.sub(r"^# ?", "", program.partition("# prints:\n")[2], flags=re.MULTILINE)


def run(program: Path, shop: str) -> subprocess.CompletedProcess[str]:
    """Run a program as a script, with a home of its own beside it."""
    environment = os.environ | {
        "EVENTFLOW_HOME": str(program.parent / "home"),
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(FOLDER / "standins")]),
        "SHOP_URL": shop,
    }
    return subprocess.run(
        [sys.executable, str(program)],
        cwd=program.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
