"""A bounded queue of events for one reader, filled from any thread and any event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Final, Literal, TypeAlias

from eventflow.events import Event
from eventflow.interrupts.masks import Wakeup, wait
from eventflow.interrupts.portals import required_loop, running_loop

__all__ = ["EventStream", "Mailbox", "Overflow", "check_policy", "in_listener"]

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
    """Events in the order in which they were published, read on one event loop.

    `size` bounds how many wait. With "block" an event is always taken, and its publisher then
    waits for room. A publisher that the reader may be waiting for never does: the reader's own
    task, the code of async listeners, and sync code on a running event loop, which would stop.
    """

    __slots__ = (
        "_closed",
        "_ending",
        "_events",
        "_idle",
        "_lock",
        "_loop",
        "_reader",
        "_waiters",
        "_woken",
        "dropped",
        "overflow",
        "size",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, size: int, overflow: Overflow) -> None:
        self.size = size
        self.overflow = overflow
        self.dropped = 0
        self._events: deque[Event] = deque()
        self._lock = threading.Lock()
        self._loop = loop
        self._woken = asyncio.Event()
        self._idle = False
        self._reader: asyncio.Task[object] | None = None
        self._waiters: list[Callable[[], object]] = []
        self._ending = False
        self._closed = False

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: Event) -> bool:
        """Take an event, or drop one; return whether the publisher has to wait for room."""
        with self._lock:
            if self._closed:
                self.dropped += 1
                return False
            full = len(self._events) >= self.size
            if full and self.overflow != "block":
                self.dropped += 1
                if self.overflow == "drop_newest":
                    return False
                self._events.popleft()
            self._events.append(event)
            wake, self._idle = self._idle, False
        if (wake and not self._wake()) or (full and self._loop.is_closed()):
            self.close()  # no reader will come

        return full and self.overflow == "block"

    def _wake(self) -> bool:
        """Wake the reader; return False if its loop is closed."""
        if running_loop() is self._loop:
            self._woken.set()
            return True
        try:
            self._loop.call_soon_threadsafe(self._woken.set)
        except RuntimeError:
            return False

        return True

    def wait_for_room(self) -> None:
        """Block a publisher in another thread until there is room again."""
        if running_loop() is not None or in_listener.get():
            return
        room = Wakeup()
        if self._add_waiter(room.set):
            while self._loop.is_running() and not wait(room, POLL_SECONDS):
                pass

    def room(self) -> Awaitable[None] | None:
        """Return what an async publisher has to await until there is room; None if it need not.

        Called by the publisher itself: another task may await the result.
        """
        loop = required_loop("Waiting until a listener has room for an event")
        if in_listener.get() or asyncio.current_task() is self._reader:
            return None
        room: asyncio.Future[None] = loop.create_future()
        is_full = self._add_waiter(lambda: loop.call_soon_threadsafe(_set, room))

        return _RoomAwaitable(self._loop, room) if is_full else None

    def _add_waiter(self, notify: Callable[[], object]) -> bool:
        """Have a publisher notified when there is room; return False if there is already."""
        with self._lock:
            is_full = len(self._events) > self.size and not self._closed
            if is_full:
                self._waiters.append(notify)

            return is_full

    async def get(self) -> Event | None:
        """Return the next event; None once the mailbox has ended and is empty."""
        self._reader = asyncio.current_task()
        while not self._is_ready():
            await self._woken.wait()

        return self.take()

    def _is_ready(self) -> bool:
        with self._lock:
            ready = bool(self._events) or self._ending or self._closed
            if not ready:
                self._idle = True
                self._woken.clear()

            return ready

    def take(self) -> Event | None:
        """Return the next event without waiting; None if there is none."""
        with self._lock:
            event = self._events.popleft() if self._events else None
            waiters: list[Callable[[], object]] = []
            if self._waiters and len(self._events) <= self.size:
                waiters, self._waiters = self._waiters, waiters
        _notify(waiters)

        return event

    def end(self) -> None:
        """Have the reader stop when the mailbox is empty."""
        with self._lock:
            self._ending = True
        self._wake()

    def close(self) -> None:
        """Take no more events, drop those that wait, and release reader and publishers."""
        with self._lock:
            self._closed = True
            self.dropped += len(self._events)
            self._events.clear()
            waiters, self._waiters = self._waiters, []
        self._wake()
        _notify(waiters)


class _RoomAwaitable:
    """Waits for room when awaited; unlike a coroutine, it may be dropped without a warning."""

    __slots__ = ("_loop", "_room")

    def __init__(self, loop: asyncio.AbstractEventLoop, room: asyncio.Future[None]) -> None:
        self._loop = loop
        self._room = room

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        while self._loop.is_running() and not self._room.done():
            await asyncio.wait([self._room], timeout=POLL_SECONDS)


def _set(room: asyncio.Future[None]) -> None:
    if not room.done():
        room.set_result(None)


def _notify(waiters: list[Callable[[], object]]) -> None:
    for notify in waiters:
        with suppress(RuntimeError):  # that publisher's loop is closed
            notify()


class EventStream:
    """The events of one `stream`, for `async for`."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    @property
    def dropped(self) -> int:
        """How many events were dropped because they were not read in time."""
        return self._mailbox.dropped

    @property
    def pending(self) -> int:
        """How many events wait to be read."""
        return len(self._mailbox)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        event = await self._mailbox.get()
        if event is None:
            raise StopAsyncIteration

        return event
