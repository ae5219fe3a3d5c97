"""A proxy in front of a server, by which a test cuts the network."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

__all__ = ["Proxy"]


class Proxy:
    """A proxy between the journal and a server, on a port of its own, that can be cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connected = threading.Event()
        self._connected.set()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.port = 0
        self.listen()

    def listen(self) -> None:
        """Accept connections, again on the same port after `close`."""
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, args=[self._listening], daemon=True).start()

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                self._pairs.append((client, server))
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._connected.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """Forward nothing any more, and leave all connections open."""
        self._connected.clear()

    def reset(self) -> None:
        """Close every connection."""
        while self._pairs:
            for end in self._pairs.pop():
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

    def restore(self) -> None:
        """Forward everything again."""
        self._connected.set()

    def close(self) -> None:
        """Close every connection, and refuse others."""
        self.restore()
        with suppress(OSError):
            # A thread that is accepting keeps the socket open otherwise.
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.reset()
