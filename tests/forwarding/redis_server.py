"""A real Redis on loopback, which can be killed and started again."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis

__all__ = ["PASSWORD", "Server", "needs_redis"]

PASSWORD = "hunter2hunter2"

needs_redis = pytest.mark.skipif(
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
