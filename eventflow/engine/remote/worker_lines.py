"""The worker's end of the lines: asking leave, telling what the body does, being told to stop."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Client
from typing import Any, Final

from eventflow.interrupts.masks import BODY, this_thread
from eventflow.primitives.forks import in_children
from eventflow.runners.frames import ANSWERS, CANCEL, GO, HomeAddress, frame

__all__ = ["WorkerLine", "line_to"]

WATCH_SECONDS: Final = 0.02
"""How often a new body is looked for whose line is to be watched."""

IDLE_LOOKS: Final = 100
"""After how many looks without a body the thread that watches sleeps until there is one."""


class WorkerLine:
    """The line of one thread of a worker, over which one attempt at a time is spoken of.

    While a body is executed, one thread watches the lines of all bodies. It begins with a body only
    after a moment: most have ended then, and need no other thread.
    """

    def __init__(self, home_address: HomeAddress) -> None:
        self._socket = _connected(home_address)
        self._writing = threading.Lock()
        # Held by the thread that reads.
        self._reading = threading.Lock()
        self._read = bytearray()
        self._unsent = b""
        self.broken = False
        self.on_stop: Callable[[], object] | None = None
        self.ticket = 0
        self.sent = 0
        self._send_frame("worker", 0, socket.gethostname(), os.getpid())

    def fileno(self) -> int:
        """Return the descriptor, for `select`."""
        return self._socket.fileno()

    def ask(self, ticket: int, copy: int) -> bool:
        """Ask leave to begin an attempt; return whether it is given."""
        self.ticket, self.sent = ticket, 0
        with self._reading:
            self._send_frame("leave", ticket, copy)
            while not self.broken:
                what, number = self._answer()
                if number == ticket:
                    return what == GO

        return False

    def tell(self, kind: str, *values: Any) -> None:
        """Tell home something of the present attempt."""
        mask = this_thread.mask
        is_in_body = mask.phase is BODY
        if is_in_body:
            # An interrupt would cut the frame.
            mask.mask()
        try:
            with self._writing, contextlib.suppress(OSError):
                self._socket.sendall(frame(kind, self.ticket, *values))
                self.sent += 1
        finally:
            if is_in_body:
                mask.unmask(BODY)

    def tell_end(self, value: Any) -> None:
        """Tell home of the plain result of the attempt, together with what comes next."""
        self._unsent = frame("ended", self.ticket, value, self.sent)

    def flush(self) -> None:
        """Send what has been kept to be sent together."""
        if self._unsent:
            self._send(b"")

    def _send_frame(self, *values: Any) -> None:
        self._send(frame(*values))

    def _send(self, sent: bytes) -> None:
        sent, self._unsent = self._unsent + sent, b""
        try:
            with self._writing:
                self._socket.sendall(sent)
        except OSError:
            self.broken = True

    def _answer(self) -> tuple[bytes, int]:
        """Wait for one answer from home."""
        while len(self._read) < ANSWERS.size and not self.broken:
            self._receive(0)

        return self._taken() or (b"", 0)

    def _receive(self, flags: int) -> None:
        # No more than one answer: of another one, `select` tells.
        try:
            read = self._socket.recv(ANSWERS.size - len(self._read), flags)
        except BlockingIOError:
            return
        except OSError:
            read = b""
        self._read += read
        self.broken = not read

    def _taken(self) -> tuple[bytes, int] | None:
        if len(self._read) < ANSWERS.size:
            return None
        what, number = ANSWERS.unpack(self._read)
        self._read.clear()

        return what, number

    def watched(self) -> None:
        """Read what has come during a body, and have the body stopped if home says so."""
        # If its own thread reads, the body has ended.
        if not self._reading.acquire(blocking=False):
            return
        try:
            self._receive(socket.MSG_DONTWAIT)
            answer, on_stop = self._taken(), self.on_stop
        finally:
            self._reading.release()
        if on_stop is not None and (self.broken or answer == (CANCEL, self.ticket)):
            on_stop()

    def watch(self, on_stop: Callable[[], object]) -> None:
        """Call a function if home wants the body stopped that now begins, or is gone."""
        self.on_stop = on_stop
        _watched.add(self)
        if _watcher.sleeps:
            _watcher.wake()

    def unwatch(self) -> None:
        """Have the line watched no longer: the body has ended."""
        self.on_stop = None
        _watched.discard(self)

    def close(self) -> None:
        """Close the line."""
        self._socket.close()

    def __del__(self) -> None:
        """Close the line with its thread."""
        if hasattr(self, "_socket"):
            self.close()


def _connected(home_address: HomeAddress) -> socket.socket:
    address: Any = home_address.address
    with Client(address, authkey=home_address.key) as connection:
        made = socket.socket(fileno=os.dup(connection.fileno()))
    if made.family != socket.AF_UNIX:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    return made


class _Watcher:
    """The thread that watches the lines of this process while bodies are executed."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin without a thread: in a forked child, it is the parent's."""
        self.sleeps = True
        self._started = False
        self._lock = threading.Lock()
        self._awake = threading.Event()

    def wake(self) -> None:
        """Watch from now on."""
        with self._lock:
            self.sleeps = False
            self._awake.set()
            if not self._started:
                self._started = True
                threading.Thread(target=self._work, name="eventflow-line", daemon=True).start()

    def _work(self) -> None:
        idle = 0
        while True:
            lines = [line for line in tuple(_watched) if not line.broken]
            idle = 0 if lines else idle + 1
            if idle > IDLE_LOOKS:
                self._sleep()
                idle = 0
            time.sleep(WATCH_SECONDS)
            # Those whose body has not ended meanwhile.
            still = [line for line in lines if line in _watched]
            if still:
                self._look(still)

    def _look(self, lines: list[WorkerLine]) -> None:
        with contextlib.suppress(OSError, ValueError):  # one is being closed
            for line in select.select(lines, (), (), WATCH_SECONDS)[0]:
                line.watched()

    def _sleep(self) -> None:
        with self._lock:
            self.sleeps = True
            self._awake.clear()
        if not _watched:
            self._awake.wait()


_watched: Final[set[WorkerLine]] = set()
_watcher: Final = _Watcher()
in_children(_watcher.reset)
_own: Final = threading.local()


def line_to(home_address: HomeAddress) -> WorkerLine:
    """Return the line of this thread to a process at home.

    Raises:
        OSError: that process cannot be reached.
        multiprocessing.AuthenticationError: the key is a wrong one.
    """
    lines: dict[bytes, WorkerLine] = vars(_own).setdefault("lines", {})
    line = lines.get(home_address.key)
    if line is None or line.broken:
        if line is not None:
            line.close()
        line = lines[home_address.key] = WorkerLine(home_address)

    return line
