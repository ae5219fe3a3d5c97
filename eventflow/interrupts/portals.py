"""Event loops in background threads, for coroutines and timers of code without a loop."""

from __future__ import annotations

import asyncio
import atexit
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, Final, TypeAlias, TypeVar

from eventflow.errors import EventLoopError
from eventflow.primitives.forks import in_children
from eventflow.primitives.loggers import get_logger

__all__ = [
    "OrderedCalls",
    "Outcome",
    "Portal",
    "background_portal",
    "in_thread",
    "required_loop",
    "running_loop",
    "timer_portal",
    "unwrap",
]

T = TypeVar("T")

Outcome: TypeAlias = "tuple[T, None] | tuple[None, BaseException]"
"""A result, or the error raised instead: as a value, an exit has no effect on loops and futures."""


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that is running in this thread, if there is one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def required_loop(what: str) -> asyncio.AbstractEventLoop:
    """Return the event loop that is running in this thread.

    Raises:
        EventLoopError: there is none, as under trio; its message begins with `what`.
    """
    loop = running_loop()
    if loop is None:
        raise EventLoopError(what)

    return loop


async def _capture(awaitable: Awaitable[T]) -> Outcome[T]:
    try:
        return await awaitable, None
    except BaseException as error:  # noqa: BLE001 - raised by `unwrap`
        return None, error


def unwrap(outcome: Outcome[T]) -> T:
    """Return the result of an outcome.

    Raises:
        BaseException: the outcome holds it instead.
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
        except BaseException as error:  # noqa: BLE001 - raised by `unwrap`
            future.set_result((None, error))

    threading.Thread(target=work, name="eventflow-call", daemon=True).start()

    return future


class Portal:
    """One event loop in one daemon thread, started when it is first used."""

    def __init__(self, name: str) -> None:
        self._name = name
        # Reentrant: a signal handler may use a portal that is just being started.
        self._lock = threading.RLock()
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
        """Whether the calling thread runs the loop."""
        return self._loop is not None and running_loop() is self._loop

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop, in this context, and block until it has ended.

        In the loop's own thread, which cannot wait for itself, the coroutine is run on another
        loop in another thread. If the wait is interrupted, the coroutine is cancelled.

        Raises:
            BaseException: what the coroutine raised.
        """
        if self.is_here:
            return unwrap(in_thread(lambda: asyncio.run(coroutine)).result())
        future = copy_context().run(
            asyncio.run_coroutine_threadsafe, _capture(coroutine), self.loop
        )
        try:
            outcome: Outcome[T] = future.result()
        except BaseException:
            future.cancel()
            raise

        return unwrap(outcome)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Callable[[], None]:
        """Call a function on the loop after so many seconds; return what cancels that."""
        loop = self.loop
        handles: list[asyncio.TimerHandle] = []
        cancelled = threading.Event()

        def begin() -> None:
            if not cancelled.is_set():
                handles.append(loop.call_later(seconds, callback))

        def cancel_handles() -> None:
            for handle in handles:
                handle.cancel()

        def cancel() -> None:
            cancelled.set()
            loop.call_soon_threadsafe(cancel_handles)

        loop.call_soon_threadsafe(begin)

        return cancel

    def reset(self) -> None:
        """Drop the loop in a forked child, where its thread does not exist."""
        self._lock = threading.RLock()
        self._loop = None


background_portal: Final = Portal("eventflow-loop")
"""Runs the async hooks of sync runs, and async listeners that have no loop of their own."""

timer_portal: Final = Portal("eventflow-watchdog")
"""Runs timers. No user code runs there that could delay them."""

in_children(background_portal.reset)
in_children(timer_portal.reset)


SHUTDOWN_SECONDS: Final = 5.0
"""How long, at most, the end of the process waits for what `OrderedCalls` calls."""

POLL_SECONDS: Final = 0.01
"""How often that is looked at."""


class OrderedCalls:
    """Calls functions in a few daemon threads, those with the same key one after the other.

    The threads end when nothing is left to call.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        in_children(self.reset)
        self.reset()

    def reset(self) -> None:
        """Start afresh in a forked child, where there are no threads."""
        self._lock = threading.RLock()
        # By key: the functions that wait, while one of the same key is being called.
        self._waiting: dict[int, deque[Callable[[], None]]] = {}
        self._ready: deque[int] = deque()
        self._threads = 0
        self._registered = False

    def put(self, key: int, job: Callable[[], None]) -> None:
        """Have a function called after those of the same key."""
        with self._lock:
            if key in self._waiting:
                self._waiting[key].append(job)
                return
            self._waiting[key] = deque([job])
            self._ready.append(key)
            if not self._registered:
                # Now, and not at the import: it is called before what was registered before.
                self._registered = True
                atexit.register(self.finish)
            if self._threads >= self._most:
                return
            self._threads += 1
        threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._ready:
                    self._threads -= 1
                    return
                key = self._ready.popleft()
                job = self._waiting[key][0]
            try:
                job()
            except BaseException as error:  # noqa: BLE001 - there is nobody to raise it to
                get_logger("hooks").error("A call raised what nobody handles", exc_info=error)
            with self._lock:
                waiting = self._waiting[key]
                waiting.popleft()
                if waiting:
                    self._ready.append(key)
                else:
                    del self._waiting[key]

    def finish(self) -> None:
        """Wait at the end of the process for what is called, a few seconds at most."""
        end = time.monotonic() + SHUTDOWN_SECONDS
        while self._threads and time.monotonic() < end:
            time.sleep(POLL_SECONDS)


RETRY_SECONDS: Final = 0.001
"""How long a thread has to get to a safe point before it is looked at again."""

PATIENCE: Final = 100
"""How often a thread is looked at in short intervals."""

SLOW_RETRY_SECONDS: Final = 0.02
"""How long it has afterwards: it waits for somebody else's lock."""


def try_later(function: Callable[[], object], tries: int) -> None:
    """Call a function again in a moment, after so many tries."""
    timer_portal.call_later(RETRY_SECONDS if tries < PATIENCE else SLOW_RETRY_SECONDS, function)
