"""Receivers: deliver events to a listener inline, through its own queue, or into a mailbox."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import inspect
import threading
import time
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from typing import Any, Final, TypeAlias, cast

from eventflow.eventbus.mailbox import Mailbox, Overflow, in_listener
from eventflow.eventbus.subscriptions import Listener
from eventflow.events import Event
from eventflow.interrupts.portals import background_portal, running_loop
from eventflow.primitives.callables import is_async, qualified_name
from eventflow.primitives.forks import in_children
from eventflow.primitives.records import is_a

__all__ = ["InlineReceiver", "MailboxReceiver", "QueuedReceiver", "receiver_for"]

AsyncListener: TypeAlias = Callable[[Any], Awaitable[object]]

AsyncFailureHandler: TypeAlias = Callable[[object, Event, BaseException], Awaitable[object]]
"""Called when an async listener raises, with the listener, the event and the error."""

SHUTDOWN_SECONDS: Final = 5.0
"""How long an ending event loop, or process, waits for async listeners to finish."""

EVENTS_PER_TURN: Final = 16
"""After how many events a listener yields to the other tasks of its loop."""


class InlineReceiver:
    """Calls a sync listener in the publisher's own thread."""

    __slots__ = ("_listener",)

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def receive(self, event: Event) -> None:
        """Call the listener.

        Raises:
            TypeError: it returned a coroutine, which nobody would await.
        """
        result = self._listener(event)
        if result is not None and inspect.iscoroutine(result):
            result.close()
            raise TypeError(
                f"The listener {qualified_name(self._listener)} is a plain function that gave a "
                "coroutine; subscribe the async function itself, or an `async def` around it."
            )

    areceive = receive

    def end(self) -> None:
        """Do nothing: no event is held."""

    def close(self) -> None:
        """Do nothing: no event is held."""


class MailboxReceiver:
    """Puts events into a mailbox for whoever reads it."""

    __slots__ = ("_mailbox",)

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    @property
    def dropped(self) -> int:
        """How many events were dropped."""
        return self._mailbox.dropped

    @property
    def pending(self) -> int:
        """How many events have not been read."""
        return len(self._mailbox)

    def receive(self, event: Event) -> None:
        """Put the event into the mailbox; blocks while it is full, if that is the policy."""
        if self._mailbox.put(event):
            self._mailbox.wait_for_room()

    def areceive(self, event: Event) -> Awaitable[None] | None:
        """Put the event into the mailbox; return the wait for room, if that is the policy."""
        return self._mailbox.room() if self._mailbox.put(event) else None

    def end(self) -> None:
        """Take no more events; those in the mailbox can still be read."""
        self._mailbox.end()

    def close(self) -> None:
        """Drop the events in the mailbox, and release every waiting publisher."""
        self._mailbox.close()


class _ListenerTask(asyncio.Task[None]):
    """The task of an async listener. A loop that ends lets it finish its mailbox, for a while."""

    mailbox: Mailbox
    is_closing = False

    def cancel(self, msg: object = None) -> bool:
        """Cancel the task; where the loop has stopped for good, only after the shutdown time."""
        loop = self.get_loop()
        # `asyncio.run` and its like cancel the remaining tasks when the loop has stopped running,
        # and then run it once more until all of them have ended.
        if loop.is_running() or self.is_closing or self.done():
            return super().cancel(msg)
        self.is_closing = True
        self.mailbox.end()
        loop.call_later(SHUTDOWN_SECONDS, super().cancel)

        return True


_listener_tasks: Final[set[_ListenerTask]] = set()  # a loop itself holds its tasks weakly


class QueuedReceiver:
    """Puts events into a mailbox; an async listener is called in a task of its own.

    The task runs on the loop that was running at the subscription, else on the background loop.
    A loop, or a process, that ends gives the listener a few seconds to finish its mailbox.
    `on_end` is called when the task has ended.
    """

    __slots__ = (
        "_busy",
        "_context",
        "_ended",
        "_listener",
        "_lock",
        "_loop",
        "_mailbox",
        "_on_failure",
        "_overflow",
        "_size",
        "on_end",
    )

    def __init__(
        self,
        listener: AsyncListener,
        on_failure: AsyncFailureHandler,
        size: int,
        overflow: Overflow,
    ) -> None:
        self.on_end: Callable[[], object] = bool
        self._listener = listener
        self._on_failure = on_failure
        self._size = size
        self._overflow: Overflow = overflow
        self._loop = running_loop()
        self._context: Context = copy_context()
        self._mailbox: Mailbox | None = None
        self._lock = threading.Lock()
        self._busy = False
        self._ended = threading.Event()

    @property
    def dropped(self) -> int:
        """How many events were dropped."""
        return 0 if self._mailbox is None else self._mailbox.dropped

    @property
    def pending(self) -> int:
        """How many events the listener has not finished."""
        return 0 if self._mailbox is None else len(self._mailbox) + self._busy

    def receive(self, event: Event) -> None:
        """Put the event into the mailbox; blocks while it is full, if that is the policy."""
        mailbox = self._mailbox or self._open()
        if mailbox.put(event):
            mailbox.wait_for_room()

    def areceive(self, event: Event) -> Awaitable[None] | None:
        """Put the event into the mailbox; return the wait for room, if that is the policy."""
        mailbox = self._mailbox or self._open()
        return mailbox.room() if mailbox.put(event) else None

    def _open(self) -> Mailbox:
        with self._lock:
            if self._mailbox is None:
                if self._loop is None:
                    _on_background_loop.add(self)
                loop = self._loop or background_portal.loop
                self._mailbox = Mailbox(loop, self._size, self._overflow)
                self._start_task(loop, self._mailbox)

            return self._mailbox

    def _start_task(self, loop: asyncio.AbstractEventLoop, mailbox: Mailbox) -> None:
        def start() -> None:
            # A copy: the fork of a process may leave the context entered for ever.
            task = _ListenerTask(self._run(mailbox), loop=loop, context=self._context.copy())
            task.mailbox = mailbox
            _listener_tasks.add(task)
            task.add_done_callback(_listener_tasks.discard)

        if running_loop() is loop:
            start()
            return
        try:
            loop.call_soon_threadsafe(start)
        except RuntimeError:  # the loop is closed: nobody will ever read
            mailbox.close()

    async def _run(self, mailbox: Mailbox) -> None:
        in_listener.set(True)
        try:
            await self._read(mailbox)
        except asyncio.CancelledError:
            await self._drain(mailbox)
            raise
        finally:
            mailbox.close()
            self._ended.set()
            _on_background_loop.discard(self)
            self.on_end()

    async def _drain(self, mailbox: Mailbox) -> None:
        """Deliver the remaining events, where every task of the loop is cancelled."""
        task = asyncio.current_task()
        if isinstance(task, _ListenerTask) and task.is_closing:
            return  # the shutdown time is over
        mailbox.end()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SHUTDOWN_SECONDS):
                await self._read(mailbox)

    async def _read(self, mailbox: Mailbox) -> None:
        count = 0
        while (event := await mailbox.get()) is not None:
            await self._call(event)
            count += 1
            if count % EVENTS_PER_TURN == 0:
                await asyncio.sleep(0)

    async def _call(self, event: Event) -> None:
        self._busy = True
        try:
            await self._listener(event)
        except BaseException as error:
            if _ends_task(error):
                raise
            await self._on_failure(self._listener, event, error)
        finally:
            self._busy = False

    def end(self) -> None:
        """Have the listener stop after the events that were published before."""
        if self._mailbox is not None:
            self._mailbox.end()

    def wait_for_end(self, seconds: float) -> None:
        """Wait until the listener has stopped."""
        self._ended.wait(seconds)

    def close(self) -> None:
        """Drop the waiting events and end the task."""
        if self._mailbox is not None:
            self._mailbox.close()

    def reset(self) -> None:
        """Start afresh in a forked process, where the background loop is gone."""
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._busy = False
        self._mailbox = None


def receiver_for(
    listener: object, on_failure: AsyncFailureHandler, size: int, overflow: Overflow
) -> InlineReceiver | QueuedReceiver:
    """Return the receiver for a listener: inline for a sync one, queued for an async one.

    Raises:
        TypeError: the listener is not callable.
    """
    if not callable(listener):
        raise TypeError(f"A listener must be callable, but got {listener!r}.")
    if is_async(listener):
        return QueuedReceiver(cast("AsyncListener", listener), on_failure, size, overflow)

    return InlineReceiver(listener)


def _ends_task(error: BaseException) -> bool:
    """Return whether an error ends the task, and is not only a failure of the listener."""
    if is_a(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    # An exit ends the user's own loop, as it does from any task; the background loop is shared.
    if is_a(error, (KeyboardInterrupt, SystemExit)):
        return not background_portal.is_here

    return is_a(error, GeneratorExit)


_on_background_loop: Final[set[QueuedReceiver]] = set()
"""The receivers whose listeners run on the background loop."""


def _finish() -> None:
    """Wait at the end of the process until listeners have seen what was published."""
    deadline = time.monotonic() + SHUTDOWN_SECONDS
    receivers = list(_on_background_loop)
    for receiver in receivers:
        receiver.end()
    for receiver in receivers:
        receiver.wait_for_end(max(0.0, deadline - time.monotonic()))


def _after_fork() -> None:
    for receiver in _on_background_loop:
        receiver.reset()


atexit.register(_finish)
in_children(_after_fork)
