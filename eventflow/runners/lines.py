"""The home end of the lines to workers: one thread accepts them all, and reads them all."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import selectors
import socket
import struct
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from pathlib import Path
from typing import Any, Final

from eventflow.primitives.loggers import get_logger
from eventflow.runners.frames import ANSWERS, Frames, HomeAddress

__all__ = ["HomeLines", "Line"]

_logger: Final = get_logger("runners")

HANDSHAKE_SECONDS: Final = 10
"""How long a worker has to prove that it knows the key."""


class Line:
    """One worker's line, as home sees it; `granted` is told when it ends."""

    __slots__ = ("_socket", "closed", "frames", "granted", "host", "pid")

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self.frames = Frames(connected)
        self.host = ""
        self.pid = 0
        self.closed = False
        # Told of the end of the line: the run whose attempt is executed at its other end.
        self.granted: Any = None

    def fileno(self) -> int:
        """Return the descriptor, for selectors."""
        return self._socket.fileno()

    def answer(self, what: bytes, ticket: int) -> None:
        """Answer the worker; the end of the line is told elsewhere."""
        with contextlib.suppress(OSError):
            self._socket.sendall(ANSWERS.pack(what, ticket))

    def close(self) -> None:
        """Close the line."""
        self.closed = True
        self._socket.close()


class HomeLines:
    """Accepts the lines of the workers of one runner, and passes on what they say.

    `receive` is called in the one thread that reads, with a line and a frame; `ended` with a line.
    The key is made anew for each, and proved by both sides (HMAC) before anything is read.
    """

    def __init__(
        self,
        host: str | None,
        receive: Callable[[Line, list[Any]], None],
        ended: Callable[[Line], None],
    ) -> None:
        self._receive = receive
        self._ended = ended
        self._new: deque[Line] = deque()
        self._wake, self._woken = socket.socketpair()
        self._folder = None if host is not None else tempfile.mkdtemp(prefix="eventflow-line-")
        self._listener = self._listen(host)
        address = self._listener.getsockname()
        own, root = logging.getLogger("eventflow"), logging.getLogger()
        self.home_address = HomeAddress(
            address if isinstance(address, str) else tuple(address[:2]),
            secrets.token_bytes(32),
            os.getpid(),
            root.getEffectiveLevel(),
            own.getEffectiveLevel(),
        )
        threading.Thread(target=self._read_on, name="eventflow-lines", daemon=True).start()

    def _listen(self, host: str | None) -> socket.socket:
        if self._folder is None:
            return socket.create_server((str(host), 0), backlog=128)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(Path(self._folder) / "home"))
        listener.listen(128)

        return listener

    def close(self) -> None:
        """Accept no line any more, and close those that there are."""
        self._wake.close()

    def _read_on(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self._listener, selectors.EVENT_READ)
        selector.register(self._woken, selectors.EVENT_READ)
        closing = False
        while not closing:
            for key, _ in selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._woken:
                    closing = not self._woken.recv(4096)
                    while self._new:
                        line = self._new.popleft()
                        selector.register(line, selectors.EVENT_READ)
                else:
                    self._read(selector, key.fileobj)
        for key in list(selector.get_map().values()):
            if isinstance(key.fileobj, Line):
                self._end(selector, key.fileobj)
        selector.close()
        self._remove_listener()

    def _remove_listener(self) -> None:
        self._listener.close()
        self._woken.close()
        if self._folder is not None:
            with contextlib.suppress(OSError):
                (Path(self._folder) / "home").unlink()
                Path(self._folder).rmdir()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connected, _ = self._listener.accept()
            # In a thread of its own: whoever connects must keep nobody else waiting.
            threading.Thread(
                target=self._authenticate, args=[connected], name="eventflow-line", daemon=True
            ).start()

    def _authenticate(self, connected: socket.socket) -> None:
        """Have a worker prove that it knows the key, and read its line from then on."""
        limit = struct.pack("ll", HANDSHAKE_SECONDS, 0)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        connection = Connection(os.dup(connected.fileno()))
        try:
            deliver_challenge(connection, self.home_address.key)
            answer_challenge(connection, self.home_address.key)
        except Exception as error:  # noqa: BLE001 - whoever connected may send anything
            _logger.warning("A connection was refused, which does not know the key: %r", error)
            connected.close()
            return
        finally:
            connection.close()
        if connected.family != socket.AF_UNIX:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._new.append(Line(connected))
        with contextlib.suppress(OSError):  # it has been closed meanwhile
            self._wake.send(b"+")

    def _read(self, selector: selectors.BaseSelector, line: Any) -> None:
        try:
            frames = line.frames.received()
            for values in frames or ():
                self._receive(line, values)
        except Exception:
            _logger.exception("A worker sent what cannot be read; its line is closed")
            frames = None
        if frames is None:
            self._end(selector, line)

    def _end(self, selector: selectors.BaseSelector, line: Line) -> None:
        selector.unregister(line)
        line.close()
        self._ended(line)
