"""Who receives events: subscriptions, and the ways in which a listener is called."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import inspect
import threading
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from enum import IntEnum
from functools import partial
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeAlias

from eventflow.events import Event
from eventflow.filters import Filter
from eventflow.mailbox import Mailbox, Overflow, check_policy
from eventflow.portal import background, running_loop
from eventflow.runners.loop import spawn

__all__ = [
    "Inline",
    "Listener",
    "Phase",
    "Queued",
    "Receiver",
    "Subscription",
    "is_async",
    "qualified_name",
]

Listener: TypeAlias = Callable[[Any], object]
"""What takes one event: a function, sync or async, or anything callable."""

SHUTDOWN_SECONDS: Final = 5.0
"""How long an ending event loop, or process, waits for async listeners to catch up."""


class Phase(IntEnum):
    """The order in which kinds of subscribers receive one event."""

    JOURNAL = 0
    LISTENER = 1
    HOOK = 2


def is_async(function: object) -> bool:
    """Say whether calling this gives an awaitable, also through partials and callable objects."""
    while isinstance(function, partial):
        function = function.func
    function = getattr(function, "func", function)

    return inspect.iscoroutinefunction(function) or (
        callable(function) and inspect.iscoroutinefunction(type(function).__call__)
    )


def qualified_name(function: object) -> str:
    """Name a callable as `module:qualname`, also through partials and callable objects."""
    while isinstance(function, partial):
        function = function.func
    if not hasattr(function, "__qualname__"):
        function = type(function)

    return f"{getattr(function, '__module__', None)}:{getattr(function, '__qualname__', function)}"


class Receiver(Protocol):
    """Takes events in one of two ways, for publishers that can await and for those that cannot."""

    def receive(self, event: Event) -> None:
        """Take an event from sync code; may block."""
        ...

    def areceive(self, event: Event) -> Awaitable[None] | None:
        """Take an event from async code; gives what is left to be awaited, if anything."""
        ...

    def close(self) -> None:
        """Let go of what is held; nothing will come any more."""
        ...


class Subscription:
    """A listener's place on a bus. Cancel it, or use it as a context manager."""

    __slots__ = ("_claimed", "_lock", "_on_cancel", "active", "delivered", "filter", "late")
    __slots__ += ("listener", "once", "phase", "priority", "receiver", "serial")

    def __init__(
        self,
        listener: object,
        receiver: Receiver,
        selection: Filter,
        *,
        serial: int,
        phase: Phase = Phase.LISTENER,
        priority: int = 0,
        once: bool = False,
        on_cancel: Callable[[Subscription], None] | None = None,
    ) -> None:
        self.listener = listener
        self.receiver = receiver
        self.filter = selection
        self.late = selection.late
        self.phase = phase
        self.priority = priority
        self.serial = serial
        self.once = once
        self.active = True
        self.delivered = 0
        self._claimed = False
        self._lock = threading.Lock()
        self._on_cancel = on_cancel

    @property
    def order(self) -> tuple[int, int, int]:
        """The place of this subscription among others: phase, then priority, then age."""
        return (self.phase, -self.priority, self.serial)

    @property
    def dropped(self) -> int:
        """How many events were dropped because the listener was too slow."""
        return getattr(self.receiver, "dropped", 0)

    @property
    def pending(self) -> int:
        """How many events wait for the listener."""
        return getattr(self.receiver, "pending", 0)

    def takes(self, subject: object) -> bool:
        """Say whether an event about this run is wanted now; a `once` is used up by it."""
        if not self.active or not all(check.admits(subject) for check in self.late):
            return False

        return not self.once or self._claim()

    def _claim(self) -> bool:
        with self._lock:
            if self._claimed:
                return False
            self._claimed = True

        return True

    def after(self) -> None:
        """Count an event; a `once` ends with its first."""
        self.delivered += 1
        if self.once:
            self._leave()

    def cancel(self) -> None:
        """End the subscription; events that still wait for it are dropped. May be repeated."""
        self._leave()
        self.receiver.close()

    def _leave(self) -> None:
        if self.active:
            self.active = False
            if self._on_cancel is not None:
                self._on_cancel(self)

    def __call__(self, event: Event) -> None:
        """Hand an event over from sync code."""
        self.receiver.receive(event)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel()

    def __repr__(self) -> str:
        return f"Subscription({qualified_name(self.listener)}, {self.filter})"


class Inline:
    """Calls a sync listener in the publisher's own thread."""

    __slots__ = ("_listener",)

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def receive(self, event: Event) -> None:
        """Call the listener."""
        self._listener(event)

    def areceive(self, event: Event) -> None:
        """Call the listener."""
        self._listener(event)

    def close(self) -> None:
        """Nothing is held."""


class Queued:
    """Puts events into a mailbox; an async listener reads it in a task of its own.

    The task lives on the loop that was running at the subscription, else on a background one.
    A loop, or a process, that ends gives the listener a few seconds to catch up.
    """

    __slots__ = ("_busy", "_ended", "_failed", "_listener", "_lock", "_loop")
    __slots__ += ("_mailbox", "_overflow", "_size")

    def __init__(
        self,
        listener: Callable[[Any], Awaitable[object]],
        failed: Callable[[Event, Exception], None],
        size: int,
        overflow: Overflow,
    ) -> None:
        check_policy(size, overflow)
        self._listener = listener
        self._failed = failed
        self._size = size
        self._overflow: Overflow = overflow
        self._loop = running_loop()
        self._mailbox: Mailbox | None = None
        self._lock = threading.Lock()
        self._busy = False
        self._ended = threading.Event()

    @property
    def dropped(self) -> int:
        """How many events were dropped."""
        return self._mailbox.dropped if self._mailbox else 0

    @property
    def pending(self) -> int:
        """How many events the listener has not ended with."""
        return len(self._mailbox) + self._busy if self._mailbox is not None else 0

    def receive(self, event: Event) -> None:
        """Put the event into the mailbox; blocks while it is full, if that is the policy."""
        mailbox = self._mailbox or self._open()
        if mailbox.put(event):
            mailbox.wait_for_room()

    def areceive(self, event: Event) -> Awaitable[None] | None:
        """Put the event into the mailbox; gives the wait for room, if that is the policy."""
        mailbox = self._mailbox or self._open()
        return mailbox.await_room() if mailbox.put(event) else None

    def _open(self) -> Mailbox:
        with self._lock:
            if self._mailbox is None:
                if self._loop is None:
                    self._loop = background.loop
                    atexit.register(self._catch_up)
                self._mailbox = Mailbox(self._loop, self._size, self._overflow)
                self._begin(self._loop, self._mailbox)

            return self._mailbox

    def _begin(self, loop: asyncio.AbstractEventLoop, mailbox: Mailbox) -> None:
        try:
            spawn(lambda: self._read(mailbox), loop, copy_context())
        except RuntimeError:  # the loop is closed: nobody will ever read
            mailbox.close()

    async def _read(self, mailbox: Mailbox) -> None:
        try:
            while (event := await mailbox.get()) is not None:
                await self._hand_over(event)
        except asyncio.CancelledError:
            # The loop is closing down: what was published before must still be seen.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SHUTDOWN_SECONDS):
                    while (event := mailbox.take()) is not None:
                        await self._hand_over(event)
            raise
        finally:
            mailbox.close()
            self._ended.set()

    async def _hand_over(self, event: Event) -> None:
        self._busy = True
        try:
            await self._listener(event)
        except Exception as error:  # noqa: BLE001 - a listener may do anything
            self._failed(event, error)
        finally:
            self._busy = False

    def _catch_up(self) -> None:
        """Let the listener end, while the process does, with what was published."""
        if self._mailbox is not None:
            self._mailbox.end()
            self._ended.wait(SHUTDOWN_SECONDS)

    def close(self) -> None:
        """Drop what is left and end the task."""
        if self._mailbox is not None:
            self._mailbox.close()
        atexit.unregister(self._catch_up)
