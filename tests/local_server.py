"""A server on the loopback interface that stands in for a service."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["serving"]


@contextmanager
def serving(
    answer: Callable[[BaseHTTPRequestHandler], None], done: threading.Event
) -> Iterator[str]:
    """Answer each POST within the block; yield the address, host and port.

    At its end `done` is set, for requests that hang.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            # The client of a hanging server disconnects, which is what is tested.
            with suppress(OSError):
                answer(self)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        done.set()
        server.shutdown()
        thread.join()
