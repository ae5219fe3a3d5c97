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
from eventflow.interrupts.portals import running_loop
from eventflow.interrupts.scopes import Bell, wait

__all__ = ["Mailbox", "Overflow", "check_policy", "reading"]

Overflow: TypeAlias = Literal["block", "drop_oldest", "drop_newest"]
"""What happens to a publisher, or to an event, when a mailbox is full."""

_CHOICES: Final = ("block", "drop_oldest", "drop_newest")

LOOK_AGAIN_SECONDS: Final = 0.2
"""How often a waiting publisher looks whether the reader's loop still runs."""

reading: Final[ContextVar[bool]] = ContextVar("eventflow_reading", default=False)
"""Whether an async listener is at work here: what it publishes itself never waits for room."""


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

    `size` bounds how many wait. With "block" an event is always taken in, and its publisher
    then waits for room. Nobody waits whom the reader may be waiting for: its own task, what an
    async listener does, and sync code on a running event loop, which waiting would stop.
    """

    __slots__ = (
        "_closed",
        "_ending",
        "_events",
        "_idle",
        "_lock",
        "_loop",
        "_reader",
        "_waiting",
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
        self._waiting: list[Callable[[], object]] = []
        self._ending = False
        self._closed = False

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: Event) -> bool:
        """Take in an event, or drop one; says whether the publisher ought to wait for room."""
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
            self.close()  # nobody will ever read

        return full and self.overflow == "block"

    def _wake(self) -> bool:
        """Have the reader look again; gives False where its loop is closed."""
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
        if running_loop() is not None or reading.get():
            return
        room = Bell()
        if self._want_room(room.set):
            while self._loop.is_running() and not wait(room, LOOK_AGAIN_SECONDS):
                pass

    def room(self) -> Awaitable[None] | None:
        """Give an async publisher what to await until there is room again; None if it need not.

        It is asked where the publishing is done: what awaits may be another task.
        """
        if reading.get() or asyncio.current_task() is self._reader:
            return None
        loop = asyncio.get_running_loop()
        room: asyncio.Future[None] = loop.create_future()
        wanted = self._want_room(lambda: loop.call_soon_threadsafe(_fulfil, room))

        return _Room(self._loop, room) if wanted else None

    def _want_room(self, tell: Callable[[], object]) -> bool:
        with self._lock:
            wanted = len(self._events) > self.size and not self._closed
            if wanted:
                self._waiting.append(tell)

            return wanted

    async def get(self) -> Event | None:
        """Give the next event; None once the mailbox has ended and is empty."""
        self._reader = asyncio.current_task()
        while not self._is_due():
            await self._woken.wait()

        return self.take()

    def _is_due(self) -> bool:
        with self._lock:
            due = bool(self._events) or self._ending or self._closed
            if not due:
                self._idle = True
                self._woken.clear()

            return due

    def take(self) -> Event | None:
        """Give the next event at once; None if there is none."""
        with self._lock:
            event = self._events.popleft() if self._events else None
            freed: list[Callable[[], object]] = []
            if self._waiting and len(self._events) <= self.size:
                freed, self._waiting = self._waiting, freed
        _tell(freed)

        return event

    def end(self) -> None:
        """Have the reader stop when it has read all there is."""
        with self._lock:
            self._ending = True
        self._wake()

    def close(self) -> None:
        """Take in nothing more, drop what is left, and let everyone go who waits."""
        with self._lock:
            self._closed = True
            self.dropped += len(self._events)
            self._events.clear()
            freed, self._waiting = self._waiting, []
        self._wake()
        _tell(freed)


class _Room:
    """What a publisher on an event loop awaits; nothing is lost if it does not."""

    __slots__ = ("_loop", "_room")

    def __init__(self, loop: asyncio.AbstractEventLoop, room: asyncio.Future[None]) -> None:
        self._loop = loop
        self._room = room

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        while self._loop.is_running() and not self._room.done():
            await asyncio.wait([self._room], timeout=LOOK_AGAIN_SECONDS)


def _fulfil(room: asyncio.Future[None]) -> None:
    if not room.done():
        room.set_result(None)


def _tell(freed: list[Callable[[], object]]) -> None:
    for tell in freed:
        with suppress(RuntimeError):  # that publisher's loop is closed
            tell()


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
