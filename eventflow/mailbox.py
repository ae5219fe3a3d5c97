"""A bounded queue of events for one reader, filled from any thread and any event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal, TypeAlias

from eventflow import control
from eventflow.events import Event
from eventflow.portal import running_loop

__all__ = ["Mailbox", "Overflow", "check_policy"]

Overflow: TypeAlias = Literal["block", "drop_oldest", "drop_newest"]
"""What happens to a publisher, or to an event, when a mailbox is full."""

_CHOICES: Final = ("block", "drop_oldest", "drop_newest")


def check_policy(size: int, overflow: str) -> None:
    """Check the bound and the overflow policy of a mailbox.

    Raises:
        ValueError: the size is less than 1, or the policy is not known.
    """
    if size < 1:
        raise ValueError(f"size must be 1 or more, but is {size}.")
    if overflow not in _CHOICES:
        raise ValueError(f"overflow must be one of {', '.join(_CHOICES)}, but is {overflow!r}.")


class Mailbox:
    """Events in the order in which they were published, read on one event loop.

    `size` bounds how many wait. With "block" an event is always taken in, and its publisher
    then waits for room; a publisher that the reader itself waits for is never held up.
    """

    __slots__ = ("_closed", "_events", "_lock", "_loop", "_reader", "_waiting", "_woken")
    __slots__ += ("dropped", "overflow", "size")

    def __init__(self, loop: asyncio.AbstractEventLoop, size: int, overflow: Overflow) -> None:
        self.size = size
        self.overflow = overflow
        self.dropped = 0
        self._events: deque[Event] = deque()
        self._lock = threading.Lock()
        self._loop = loop
        self._woken = asyncio.Event()
        self._reader: asyncio.Task[object] | None = None
        self._waiting: list[Callable[[], object]] = []
        self._closed = False

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: Event) -> bool:
        """Take in an event, or drop one; says whether the publisher ought to wait for room."""
        with self._lock:
            if self._closed:
                return False
            full = len(self._events) >= self.size
            if full and self.overflow != "block":
                self.dropped += 1
                if self.overflow == "drop_newest":
                    return False
                self._events.popleft()
            self._events.append(event)
        self._wake_reader()

        return full and self.overflow == "block"

    def _wake_reader(self) -> None:
        if running_loop() is self._loop:
            self._woken.set()
        else:
            with suppress(RuntimeError):  # the loop is closed: nobody will read
                self._loop.call_soon_threadsafe(self._woken.set)

    def wait_for_room(self) -> None:
        """Block a publisher in another thread until there is room again."""
        if running_loop() is self._loop:
            return
        room = threading.Event()
        if self._want_room(room.set):
            control.wait(room)

    async def await_room(self) -> None:
        """Have an async publisher wait until there is room again."""
        if asyncio.current_task() is self._reader:
            return
        loop = asyncio.get_running_loop()
        room = asyncio.Event()
        if self._want_room(lambda: loop.call_soon_threadsafe(room.set)):
            await room.wait()

    def _want_room(self, tell: Callable[[], object]) -> bool:
        with self._lock:
            wanted = len(self._events) >= self.size and not self._closed
            if wanted:
                self._waiting.append(tell)

            return wanted

    async def get(self) -> Event | None:
        """Give the next event; None once the mailbox has ended and is empty."""
        self._reader = asyncio.current_task()
        while not self._events and not self._closed:
            self._woken.clear()
            # An event may have come in between the look and the clearing.
            if self._events or self._closed:
                break
            await self._woken.wait()

        return self.take()

    def take(self) -> Event | None:
        """Give the next event at once; None if there is none."""
        with self._lock:
            event = self._events.popleft() if self._events else None
            freed = self._waiting if len(self._events) < self.size else []
            if freed:
                self._waiting = []
        _tell(freed)

        return event

    def end(self) -> None:
        """Take in nothing more; what is left may still be read."""
        self._closed = True
        self._wake_reader()

    def close(self) -> None:
        """Take in nothing more, drop what is left, and let everyone go who waits."""
        with self._lock:
            self._closed = True
            self._events.clear()
            freed, self._waiting = self._waiting, []
        self._wake_reader()
        _tell(freed)


def _tell(freed: list[Callable[[], object]]) -> None:
    for tell in freed:
        with suppress(RuntimeError):  # that publisher's loop is closed
            tell()
