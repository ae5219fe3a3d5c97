"""Messages about one run, handled one after the other in threads of the pool at home."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context
from typing import Any

from eventflow.engine.invocation import Invocation
from eventflow.runners.threads import default, extra_worker
from eventflow.runs.futures import Future

__all__ = ["Inbox", "Waiting"]


class Inbox:
    """Handles messages in a context, in the order in which they came, from any thread.

    None is handled before `open`.
    """

    __slots__ = ("_busy", "_context", "_lock", "_messages")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._messages: deque[Callable[[], None]] = deque()
        self._busy = True

    def post(self, handle: Callable[[], None], *, here: bool = False) -> None:
        """Have a message handled after those that came before.

        One that calls nothing of the user's may be handled `here`, in the thread that has it: a
        switch to another thread takes longer than the rest.
        """
        with self._lock:
            if self._busy or not here:
                self._messages.append(handle)
            if self._busy:
                return
            self._busy = True
        if here:
            self._context.run(handle)
            with self._lock:
                self._busy = bool(self._messages)
                if not self._busy:
                    return
        default.submit(self._handle_all)

    def open(self, first: Callable[[], None] | None) -> None:
        """Handle the messages that come, and those that have come; first of all this one."""
        with self._lock:
            if first is not None:
                self._messages.appendleft(first)
            self._busy = bool(self._messages)
            if not self._busy:
                return
        default.submit(self._handle_all)

    def _handle_all(self) -> None:
        while True:
            with self._lock:
                if not self._messages:
                    self._busy = False
                    return
                handle = self._messages.popleft()
            self._context.run(handle)


class Waiting:
    """Lets a thread of the pool at home wait for a run that needs such a thread to go on."""

    __slots__ = ("_future", "_invocation")

    def __init__(self, invocation: Invocation, future: Future[Any]) -> None:
        self._invocation = invocation
        self._future = future

    def is_possible(self) -> bool:
        """Return whether the calling thread is one of the pool."""
        return default.is_worker()

    def upstream(self) -> list[Future[Any]]:
        """Return the futures that the task run waits for."""
        return self._invocation.upstream()

    def help(self) -> None:
        """Wait for the end of the run, while another thread works in the place of this one."""
        self._future.wait(threading.TIMEOUT_MAX)

    def extra_worker(self) -> AbstractContextManager[None]:
        """Return the block in which the calling thread waits, and another works in its place."""
        return extra_worker() if self.is_possible() else nullcontext()
