"""Receivers: hand events to a listener inline, through a queue of its own, or into a mailbox."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import inspect
import threading
import time
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from typing import Any, Final

from eventflow.eventbus.mailbox import Mailbox, Overflow, reading
from eventflow.eventbus.subscriptions import Listener
from eventflow.events import Event
from eventflow.interrupts.portals import background, running_loop
from eventflow.primitives.callables import qualified_name
from eventflow.primitives.forks import in_children

__all__ = ["InlineReceiver", "MailboxReceiver", "QueuedReceiver"]

SHUTDOWN_SECONDS: Final = 5.0
"""How long an ending event loop, or process, waits for async listeners to catch up."""

IN_A_ROW: Final = 16
"""After how many events a listener lets others on its loop have a turn."""


class InlineReceiver:
    """Calls a sync listener in the publisher's own thread."""

    __slots__ = ("_listener",)

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def receive(self, event: Event) -> None:
        """Call the listener.

        Raises:
            TypeError: it gave a coroutine, which nobody would await.
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
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""


class MailboxReceiver:
    """Receives for one who reads a mailbox."""

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
        """Put the event into the mailbox; gives the wait for room, if that is the policy."""
        return self._mailbox.room() if self._mailbox.put(event) else None

    def end(self) -> None:
        """Leave what is there to be read."""
        self._mailbox.end()

    def close(self) -> None:
        """Drop what is left, and let every waiting publisher go."""
        self._mailbox.close()


class _Reader(asyncio.Task[None]):
    """The task of an async listener. A loop that ends lets it catch up first, for a while."""

    mailbox: Mailbox
    closing = False

    def cancel(self, msg: object = None) -> bool:
        """Cancel the task; where the loop has stopped for good, only once its time is over."""
        loop = self.get_loop()
        # `asyncio.run` and its like cancel what is left when the loop has stopped running, and
        # then run it once more until all that has ended.
        if loop.is_running() or self.closing or self.done():
            return super().cancel(msg)
        self.closing = True
        self.mailbox.end()
        loop.call_later(SHUTDOWN_SECONDS, super().cancel)

        return True


_readers: Final[set[_Reader]] = set()  # a loop itself holds its tasks weakly


class QueuedReceiver:
    """Puts events into a mailbox; an async listener reads it in a task of its own.

    The task lives on the loop that was running at the subscription, else on a background one.
    A loop, or a process, that ends gives the listener a few seconds to catch up.
    """

    __slots__ = (
        "_busy",
        "_context",
        "_ended",
        "_failed",
        "_home",
        "_listener",
        "_lock",
        "_mailbox",
        "_overflow",
        "_size",
        "when_over",
    )

    def __init__(
        self,
        listener: Callable[[Any], Awaitable[object]],
        failed: Callable[[object, Event, BaseException], Awaitable[object]],
        size: int,
        overflow: Overflow,
    ) -> None:
        self.when_over: Callable[[], object] = bool
        self._listener = listener
        self._failed = failed
        self._size = size
        self._overflow: Overflow = overflow
        self._home = running_loop()
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
        """How many events the listener has not ended with."""
        return 0 if self._mailbox is None else len(self._mailbox) + self._busy

    def receive(self, event: Event) -> None:
        """Put the event into the mailbox; blocks while it is full, if that is the policy."""
        mailbox = self._mailbox or self._open()
        if mailbox.put(event):
            mailbox.wait_for_room()

    def areceive(self, event: Event) -> Awaitable[None] | None:
        """Put the event into the mailbox; gives the wait for room, if that is the policy."""
        mailbox = self._mailbox or self._open()
        return mailbox.room() if mailbox.put(event) else None

    def _open(self) -> Mailbox:
        with self._lock:
            if self._mailbox is None:
                if self._home is None:
                    _at_home_nowhere.add(self)
                loop = self._home or background.loop
                self._mailbox = Mailbox(loop, self._size, self._overflow)
                self._begin(loop, self._mailbox)

            return self._mailbox

    def _begin(self, loop: asyncio.AbstractEventLoop, mailbox: Mailbox) -> None:
        def begin() -> None:
            # A copy: the fork of a process may leave the context entered for ever.
            reader = _Reader(self._read(mailbox), loop=loop, context=self._context.copy())
            reader.mailbox = mailbox
            _readers.add(reader)
            reader.add_done_callback(_readers.discard)

        if running_loop() is loop:
            begin()
            return
        try:
            loop.call_soon_threadsafe(begin)
        except RuntimeError:  # the loop is closed: nobody will ever read
            mailbox.close()

    async def _read(self, mailbox: Mailbox) -> None:
        reading.set(True)
        try:
            await self._read_on(mailbox)
        except asyncio.CancelledError:
            await self._read_out(mailbox)
            raise
        finally:
            mailbox.close()
            self._ended.set()
            _at_home_nowhere.discard(self)
            self.when_over()

    async def _read_out(self, mailbox: Mailbox) -> None:
        """Have the listener see the rest, where somebody ends everything on its loop."""
        task = asyncio.current_task()
        if isinstance(task, _Reader) and task.closing:
            return  # it has had its time
        mailbox.end()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SHUTDOWN_SECONDS):
                await self._read_on(mailbox)

    async def _read_on(self, mailbox: Mailbox) -> None:
        row = 0
        while (event := await mailbox.get()) is not None:
            await self._hand_over(event)
            row += 1
            if row % IN_A_ROW == 0:
                await asyncio.sleep(0)

    async def _hand_over(self, event: Event) -> None:
        self._busy = True
        try:
            await self._listener(event)
        except BaseException as error:
            if _is_from_outside(error):
                raise
            await self._failed(self._listener, event, error)
        finally:
            self._busy = False

    def end(self) -> None:
        """Have the listener stop when it has seen what was published."""
        if self._mailbox is not None:
            self._mailbox.end()

    def wait_for_end(self, seconds: float) -> None:
        """Wait until the listener has seen all."""
        self._ended.wait(seconds)

    def close(self) -> None:
        """Drop what is left and end the task."""
        if self._mailbox is not None:
            self._mailbox.close()

    def begin_again(self) -> None:
        """Start anew in a process that was forked: its background loop is gone."""
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._busy = False
        self._mailbox = None


def _is_from_outside(error: BaseException) -> bool:
    """Say whether this is to end the task, and not only something that the listener raised."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    # An exit ends a loop of the user's, as it would from any task; the background loop is shared.
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return not background.is_here

    return isinstance(error, GeneratorExit)


_at_home_nowhere: Final[set[QueuedReceiver]] = set()
"""The listeners that read on the background loop."""


def _catch_up() -> None:
    """Let listeners end, while the process does, with what was published."""
    deadline = time.monotonic() + SHUTDOWN_SECONDS
    waiting = list(_at_home_nowhere)
    for one in waiting:
        one.end()
    for one in waiting:
        one.wait_for_end(max(0.0, deadline - time.monotonic()))


def _after_fork() -> None:
    for one in _at_home_nowhere:
        one.begin_again()


atexit.register(_catch_up)
in_children(_after_fork)
