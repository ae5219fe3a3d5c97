"""A background event loop, for coroutines and timers of code that has no loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, Final, TypeAlias, TypeVar

from eventflow.primitives.forks import in_children

__all__ = ["Outcome", "Portal", "background", "in_thread", "running_loop", "unpacked", "watchdog"]

T = TypeVar("T")

Outcome: TypeAlias = "tuple[T, None] | tuple[None, BaseException]"
"""A result or what was raised. An exit or an interrupt travels in it past loops and futures."""


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Give the event loop that is running in this thread, if there is one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def _outcome(awaitable: Awaitable[T]) -> Outcome[T]:
    try:
        return await awaitable, None
    except BaseException as error:  # noqa: BLE001 - raised by whoever unpacks it
        return None, error


def unpacked(outcome: Outcome[T]) -> T:
    """Give the result of an outcome.

    Raises:
        BaseException: what was raised instead.
    """
    result, error = outcome
    if error is not None:
        raise error

    return result  # type: ignore[return-value]  # without an error there is a result


def in_thread(call: Callable[[], T]) -> Future[Outcome[T]]:
    """Call a function in a daemon thread of its own, in this context."""
    future: Future[Outcome[T]] = Future()
    future.set_running_or_notify_cancel()
    context = copy_context()

    def work() -> None:
        try:
            future.set_result((context.run(call), None))
        except BaseException as error:  # noqa: BLE001 - raised by whoever unpacks it
            future.set_result((None, error))

    threading.Thread(target=work, name="eventflow-call", daemon=True).start()

    return future


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
                running = threading.Event()
                loop.call_soon(running.set)
                threading.Thread(target=loop.run_forever, name=self._name, daemon=True).start()
                running.wait()
                self._loop = loop

            return self._loop

    @property
    def is_here(self) -> bool:
        """Whether this thread is the one of the loop."""
        return self._loop is not None and running_loop() is self._loop

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop to its end, in this context; blocks.

        The loop's own thread cannot wait for itself: called there, the coroutine gets a loop
        and a thread of its own. If the waiting is interrupted, the coroutine is cancelled.

        Raises:
            BaseException: what the coroutine raised.
        """
        if self.is_here:
            return unpacked(in_thread(lambda: asyncio.run(coroutine)).result())
        future = copy_context().run(
            asyncio.run_coroutine_threadsafe, _outcome(coroutine), self.loop
        )
        try:
            outcome: Outcome[T] = future.result()
        except BaseException:
            future.cancel()
            raise

        return unpacked(outcome)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Callable[[], None]:
        """Have a function called on the loop after so many seconds; gives what calls that off."""
        loop = self.loop
        handles: list[asyncio.TimerHandle] = []
        called_off = threading.Event()

        def begin() -> None:
            if not called_off.is_set():
                handles.append(loop.call_later(seconds, callback))

        def cancel() -> None:
            for handle in handles:
                handle.cancel()

        def call_off() -> None:
            called_off.set()
            loop.call_soon_threadsafe(cancel)

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

in_children(background.forget)
in_children(watchdog.forget)
