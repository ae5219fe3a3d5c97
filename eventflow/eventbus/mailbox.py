"""A bounded queue of events for one reader, filled from any thread and any event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, Literal, TypeAlias

from eventflow.events import Event
from eventflow.interrupts.portals import required_loop, running_loop
from eventflow.interrupts.waiting import Wakeup, wait
from eventflow.primitives.loggers import get_logger

__all__ = ["Mailbox", "Overflow", "check_policy", "in_listener"]

_logger: Final = get_logger("bus")

Overflow: TypeAlias = Literal["block", "drop_oldest", "drop_newest"]
"""What happens to a publisher, or to an event, when a mailbox is full."""

_CHOICES: Final = ("block", "drop_oldest", "drop_newest")

POLL_SECONDS: Final = 0.2
"""How often a waiting publisher checks whether the reader's loop still runs."""

in_listener: Final[ContextVar[bool]] = ContextVar("eventflow_in_listener", default=False)
"""Whether this is the code of an async listener: what it publishes never waits for room."""


def check_policy(size: int, overflow: str) -> None:
    """Check the bound and the overflow policy of a mailbox.

    Raises:
        TypeError: the size is no whole number.
        ValueError: the size is less than 1, or the policy is not known.
    """
    if not isinstance(size, int):
        raise TypeError(f"size must be a whole number of events, but is {size!r}.")
    if size < 1:
        raise ValueError(f"size must be 1 or more, but is {size}.")
    if overflow not in _CHOICES:
        raise ValueError(f"overflow must be one of {', '.join(_CHOICES)}, but is {overflow!r}.")


class Mailbox:
    """Events in the order in which they were published, each for one reader, on its loop.

    `size` bounds how many wait. With "block" an event is taken in, and its publisher then waits
    for room. A publisher that the reader may be waiting for cannot: the reader's own task, the code
    of async listeners, and sync code on a running event loop, which would stop. Nor can one whose
    reader stands still. Its event is dropped.

    `start` is called when there are events and nobody reads them: at the first one, and when the
    loop of the reader was closed. Without it, the reader comes by itself.
    """

    __slots__ = (
        "_closed",
        "_ending",
        "_events",
        "_lock",
        "_reader",
        "_stands_still",
        "_waiters",
        "_wakes",
        "dropped",
        "is_busy",
        "loop",
        "name",
        "overflow",
        "size",
        "start",
    )

    def __init__(
        self,
        name: str,
        size: int,
        overflow: Overflow,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        start: Callable[[], object] | None = None,
    ) -> None:
        self.name = name
        self.size = size
        self.overflow = overflow
        self.dropped = 0
        self.loop = loop
        """Where it is read; None while that is not known yet."""
        self.is_busy = False
        """Whether the reader took an event and has not come back."""
        self.start = start
        self._wakes = [] if start is None else [start]
        self._events: deque[Event] = deque()
        # Reentrant: a finalizer or a signal handler may close the mailbox, or publish.
        self._lock = threading.RLock()
        self._reader: asyncio.Task[object] | None = None
        self._waiters: list[Callable[[], object]] = []
        self._stands_still = False
        self._ending = False
        self._closed = False

    def __len__(self) -> int:
        return len(self._events)

    # -- publishers -------------------------------------------------------------------------

    def put(self, event: Event) -> None:
        """Take an event from sync code, or drop one; blocks while it is full, if it may."""
        if self._may_come_back():
            self._wait_for_reader()
        if not self._take_in(event, self._may_block):
            return
        room = Wakeup()
        if self._add_waiter(room.set):
            while self.is_read() and not wait(room, POLL_SECONDS):
                self.restart()

    def _may_come_back(self) -> bool:
        """Return whether a full mailbox is not read at the moment, as when its loop ends."""
        if len(self._events) < self.size or self.overflow != "block" or self._stands_still:
            return False

        return not self._closed and not self.is_read() and self._is_free()

    def _wait_for_reader(self) -> None:
        """Wait until the reader's loop runs again or is closed, once, for a moment."""
        deadline = time.monotonic() + POLL_SECONDS
        while not self.is_read() and time.monotonic() < deadline:
            wait(Wakeup(), POLL_SECONDS / 100)
        self._stands_still = not self.is_read()

    def aput(self, event: Event) -> Awaitable[None] | None:
        """Take an event from async code, or drop one; return the wait for room, if there is one.

        Called by the publisher itself: another task may await the result.
        """
        loop = required_loop("Waiting until a listener has room for an event")
        if not self._take_in(event, self._may_wait):
            return None
        room: asyncio.Future[None] = loop.create_future()
        is_full = self._add_waiter(lambda: loop.call_soon_threadsafe(_set, room))

        return _Room(room, self) if is_full else None

    def _may_block(self) -> bool:
        return self._is_free() and self.is_read()

    def _is_free(self) -> bool:
        return running_loop() is None and not in_listener.get()

    def _may_wait(self) -> bool:
        if in_listener.get() or asyncio.current_task() is self._reader:
            return False

        return self.is_read()

    def is_read(self) -> bool:
        """Return whether there will be room: the reader's loop runs, or another is found."""
        loop = self.loop
        return loop is None or loop.is_running() or (self.start is not None and loop.is_closed())

    def restart(self) -> None:
        """Have another reader started if the loop of the last one was closed over events."""
        with self._lock:
            is_lost = bool(self._events) and self.loop is not None and self.loop.is_closed()
            wakes = self._claim_wakes() if is_lost else ()
        for wake in wakes:
            wake()

    def _take_in(self, event: Event, may_wait: Callable[[], bool]) -> bool:
        """Take an event, or drop one; return whether the publisher has to wait for room."""
        waits = says = False
        wakes: Sequence[Callable[[], object]] = ()
        with self._lock:
            full = len(self._events) >= self.size and not self._closed
            waits = full and self.overflow == "block" and may_wait()
            drops = self._closed or (full and not waits)
            if drops:
                says = full and self.overflow == "block" and self.dropped == 0
                self.dropped += 1
            if full and self.overflow == "drop_oldest":
                self._events.popleft()
                drops = False
            if not drops:
                self._events.append(event)
            if not self._closed:
                wakes = self._claim_wakes()
        if says:
            self._say_dropped()
        for wake in wakes:
            wake()

        return waits

    def _claim_wakes(self) -> Sequence[Callable[[], object]]:
        """Return what makes somebody read, if nobody does: for one caller, who calls it."""
        wakes, self._wakes = self._wakes, []
        if self.start is None:
            return wakes
        if not wakes and self.loop is not None and self.loop.is_closed():
            wakes = [self.start]
        if wakes:
            self.loop = None  # until it is known where it is read from now on

        return wakes

    def _say_dropped(self) -> None:
        _logger.warning(
            "The queue of a listener is full, and a publisher that cannot wait for room goes on: "
            "its events are dropped. Raise the listener's size, or publish with `await "
            "bus.apublish(...)` or from a thread.",
            listener=self.name,
            size=self.size,
        )

    def _add_waiter(self, notify: Callable[[], object]) -> bool:
        """Have a publisher notified when there is room; return False if there is already."""
        with self._lock:
            is_full = len(self._events) > self.size and not self._closed
            if is_full:
                self._waiters.append(notify)

            return is_full

    # -- the reader -------------------------------------------------------------------------

    async def get(self) -> Event | None:
        """Return the next event; None once the mailbox has ended and is empty."""
        self._reader = asyncio.current_task()
        self.loop = loop = asyncio.get_running_loop()
        while (event := self.take()) is None:
            woken: asyncio.Future[None] = loop.create_future()
            event = self.take(partial(_wake, woken))
            if event is not None or self._is_over():
                break
            await woken

        return event

    def _is_over(self) -> bool:
        return (self._ending or self._closed) and not self._events

    def take(self, wake: Callable[[], object] | None = None) -> Event | None:
        """Return the next event without waiting; None if there is none.

        Then `wake` is called once, when there is one or the mailbox is closed.
        """
        with self._lock:
            event = self._events.popleft() if self._events else None
            self._stands_still = False
            self.is_busy = event is not None
            if event is None and wake is not None:
                self._wakes.append(wake)
            waiters: list[Callable[[], object]] = []
            if self._waiters and len(self._events) <= self.size:
                waiters, self._waiters = self._waiters, waiters
        _notify(waiters)

        return event

    def leave(self) -> bool:
        """Stop reading; return whether events wait, for which the caller has to call `start`."""
        with self._lock:
            self.is_busy = False
            remain = bool(self._events)
            self._wakes = [] if self.start is None or remain else [self.start]
            if remain:
                self.loop = None

        return remain

    def reset(self) -> None:
        """Start afresh in a forked process: the events are the parent's."""
        self._lock = threading.RLock()
        self._events.clear()
        self.loop = None
        self.leave()

    def claim(self) -> bool:
        """Return whether events wait for a reader that does not come; if so, the caller does."""
        with self._lock:
            loop = self.loop
            is_left = bool(self._events) and loop is not None and not loop.is_running()
            if is_left:
                self._wakes, self.loop = [], None

        return is_left

    def end(self) -> None:
        """Have the reader stop when the mailbox is empty."""
        self._ending = True
        self._wake_waiting()

    def close(self) -> None:
        """Take no more events, drop those that wait, and release reader and publishers."""
        self._closed = True
        self.drop_all()
        self._wake_waiting()

    def drop_all(self) -> int:
        """Drop the events that wait, and release publishers; return how many they were."""
        with self._lock:
            count = len(self._events)
            self.dropped += count
            self._events.clear()
            waiters, self._waiters = self._waiters, []
        _notify(waiters)

        return count

    def _wake_waiting(self) -> None:
        if self.start is None:
            with self._lock:
                wakes, self._wakes = self._wakes, []
            for wake in wakes:
                wake()


class _Room:
    """Waits for room when awaited; unlike a coroutine, it may be dropped without a warning."""

    __slots__ = ("_mailbox", "_room")

    def __init__(self, room: asyncio.Future[None], mailbox: Mailbox) -> None:
        self._room = room
        self._mailbox = mailbox

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        while self._mailbox.is_read() and not self._room.done():
            await asyncio.wait([self._room], timeout=POLL_SECONDS)
            self._mailbox.restart()


def _wake(woken: asyncio.Future[None]) -> None:
    """Wake a reader that awaits; if its loop is closed, another may read later."""
    loop = woken.get_loop()
    if running_loop() is loop:
        _set(woken)
        return
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_set, woken)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _notify(waiters: list[Callable[[], object]]) -> None:
    for notify in waiters:
        with suppress(RuntimeError):  # that publisher's loop is closed
            notify()
