"""A background event loop, for coroutines and timers of code that has no loop of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import Context, copy_context
from typing import Any, Final, TypeVar

__all__ = ["Portal", "background", "running_loop", "watchdog"]

T = TypeVar("T")


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Give the event loop that is running in this thread, if there is one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Portal:
    """One event loop in one daemon thread, started when it is first asked for."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, running."""
        loop = self._loop
        return loop if loop is not None else self._start()

    def _start(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                threading.Thread(target=loop.run_forever, name=self._name, daemon=True).start()
                self._loop = loop

            return self._loop

    def submit(self, coroutine: Coroutine[Any, Any, T], context: Context) -> Future[T]:
        """Run a coroutine on the loop, in the given context."""
        return context.run(asyncio.run_coroutine_threadsafe, coroutine, self.loop)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop to its end, in this context; blocks."""
        return self.submit(coroutine, copy_context()).result()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Callable[[], None]:
        """Have a function called on the loop after so many seconds; gives what calls that off."""
        loop = self.loop
        handles: list[asyncio.TimerHandle] = []
        called_off = threading.Event()

        def begin() -> None:
            if not called_off.is_set():
                handles.append(loop.call_later(seconds, callback))

        def call_off() -> None:
            called_off.set()
            loop.call_soon_threadsafe(lambda: [handle.cancel() for handle in handles])

        loop.call_soon_threadsafe(begin)

        return call_off

    def forget(self) -> None:
        """Drop a loop whose thread did not survive a fork."""
        self._lock = threading.Lock()
        self._loop = None


background: Final = Portal("eventflow-loop")
"""Where async hooks of sync runs and async listeners without a loop of their own run."""

watchdog: Final = Portal("eventflow-watchdog")
"""Where timers run; no user code does, so nothing makes them late."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=background.forget)
    os.register_at_fork(after_in_child=watchdog.forget)
