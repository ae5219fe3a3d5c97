"""Receivers: deliver events to a listener inline, through its own queue, or into a mailbox."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import inspect
import time
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from typing import Any, Final, TypeAlias, cast

from eventflow.eventbus.loop_ends import SHUTDOWN_SECONDS, ListenerTask, has_ended, wait_at_end
from eventflow.eventbus.mailbox import Mailbox, Overflow, in_listener
from eventflow.eventbus.subscriptions import Listener
from eventflow.events import Event
from eventflow.interrupts.portals import background_portal, running_loop
from eventflow.primitives.callables import check_takes, is_async, qualified_name
from eventflow.primitives.forks import in_children
from eventflow.primitives.loggers import get_logger
from eventflow.primitives.texts import is_a

__all__ = ["InlineReceiver", "MailboxReceiver", "QueuedReceiver", "receiver_for"]

_logger: Final = get_logger("bus")

AsyncListener: TypeAlias = Callable[[Any], Awaitable[object]]

AsyncFailureHandler: TypeAlias = Callable[[object, Event, BaseException], Awaitable[object]]
"""Called when an async listener raises, with the listener, the event and the error."""

FINISH_POLL_SECONDS: Final = 0.002
"""How often an ending process checks whether the listeners have finished."""

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
        self._mailbox.put(event)

    def areceive(self, event: Event) -> Awaitable[None] | None:
        """Put the event into the mailbox; return the wait for room, if that is the policy."""
        return self._mailbox.aput(event)

    def end(self) -> None:
        """Take no more events; those in the mailbox can still be read."""
        self._mailbox.end()

    def close(self) -> None:
        """Drop the events in the mailbox, and release every waiting publisher."""
        self._mailbox.close()


class _Turn:
    """One reading of a mailbox, until it is empty; a later turn takes the place of one cut off."""

    __slots__ = ("is_over",)

    def __init__(self) -> None:
        self.is_over = False
        """Whether the mailbox was found empty: the next event begins another turn."""


class QueuedReceiver:
    """Puts events into a mailbox; an async listener is called in a task, while there are any.

    The task runs on the loop that was running at the subscription, else on the background loop.
    Once that loop is closed, the next event takes the listener to the loop that is running then.
    A loop, or a process, that ends gives the listener a few seconds to finish its mailbox.
    """

    __slots__ = (
        "_context",
        "_has_said",
        "_home",
        "_listener",
        "_mailbox",
        "_on_failure",
        "_task",
        "_turn",
    )

    def __init__(
        self,
        listener: AsyncListener,
        on_failure: AsyncFailureHandler,
        size: int,
        overflow: Overflow,
    ) -> None:
        self._listener = listener
        self._on_failure = on_failure
        self._home = running_loop()
        if self._home is not None and not background_portal.is_here:
            wait_at_end(self._home)
        self._context: Context = copy_context()
        self._mailbox = Mailbox(qualified_name(listener), size, overflow, start=self._start)
        self._turn: _Turn | None = None
        self._task: ListenerTask | None = None
        self._has_said = False

    @property
    def dropped(self) -> int:
        """How many events were dropped."""
        return self._mailbox.dropped

    @property
    def pending(self) -> int:
        """How many events the listener has not finished."""
        return len(self._mailbox) + self._mailbox.is_busy

    def receive(self, event: Event) -> None:
        """Put the event into the mailbox; blocks while it is full, if that is the policy."""
        self._mailbox.put(event)

    def areceive(self, event: Event) -> Awaitable[None] | None:
        """Put the event into the mailbox; return the wait for room, if that is the policy."""
        return self._mailbox.aput(event)

    def _start(self) -> None:
        """Have a task read the mailbox until it is empty."""
        self._start_on(self._choose_loop())

    def _choose_loop(self) -> asyncio.AbstractEventLoop:
        home, here = self._home, running_loop()
        if home is None:
            return background_portal.loop
        if has_ended(home):
            if here is None or has_ended(here) or background_portal.is_here:
                return background_portal.loop
            home = self._home = here
        elif here is not None and not home.is_running():
            self._say_waiting()

        return home

    def _say_waiting(self) -> None:
        if not self._has_said:
            self._has_said = True
            _logger.warning(
                "The event loop of an async listener is not running, and another publishes: its "
                "events wait until its own runs again, or is closed. Subscribe it on the loop that "
                "is to call it.",
                listener=self._mailbox.name,
            )

    def _start_on(self, loop: asyncio.AbstractEventLoop) -> None:
        self._drop_task()
        turn = self._turn = _Turn()
        self._mailbox.loop = loop
        _turns[turn] = self

        def begin() -> None:
            if self._turn is not turn:
                return
            if has_ended(loop):  # in the moment between
                self._start()
            else:
                # A copy: the fork of a process may leave the context entered for ever.
                context = self._context.copy()
                self._task = ListenerTask(self._run(turn), loop=loop, context=context)
                self._task.add_done_callback(lambda task: self._end(task, turn))
                if not background_portal.is_here:
                    wait_at_end(loop)

        if running_loop() is loop:
            begin()
            return
        with contextlib.suppress(RuntimeError):  # it was closed: the next event finds another
            loop.call_soon_threadsafe(begin)

    def _drop_task(self) -> None:
        """Drop a task that was cut off: its loop was closed, or will not run any more."""
        if self._turn is not None:
            _turns.pop(self._turn, None)
        task, self._task, self._turn = self._task, None, None
        if task is None or task.done():
            return
        if self._mailbox.is_busy:
            _logger.error(
                "An async listener was cut off in the middle of an event: its event loop was "
                "closed before it had ended.",
                listener=self._mailbox.name,
            )
        with contextlib.suppress(Exception):  # whatever the listener does when it is closed
            task.get_coro().close()

    async def _run(self, turn: _Turn) -> None:
        in_listener.set(True)
        try:
            await self._read(turn)
        except asyncio.CancelledError:
            await self._drain(turn)
            raise

    def _end(self, task: asyncio.Task[None], turn: _Turn) -> None:
        """Begin another turn if events remain: an exit, or a cancellation, has ended this one."""
        if not task.cancelled():
            # An exit has left the loop by itself: asyncio need not tell of it later.
            task.exception()
        _turns.pop(turn, None)
        if self._turn is turn and not turn.is_over and self._mailbox.leave():
            self._start()

    async def _drain(self, turn: _Turn) -> None:
        """Deliver the remaining events, where every task of the loop is cancelled."""
        task = asyncio.current_task()
        if not isinstance(task, ListenerTask) or not task.is_given_up:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SHUTDOWN_SECONDS):
                    await self._read(turn)
                    return
        count = self._mailbox.drop_all()
        _logger.error(
            "An async listener did not end with its event loop, and was given up.",
            listener=self._mailbox.name,
            dropped=count,
        )

    async def _read(self, turn: _Turn) -> None:
        mailbox, count = self._mailbox, 0
        while self._turn is turn:
            event = mailbox.take(mailbox.start)
            if event is None:
                turn.is_over = True
                return
            await self._call(event)
            count += 1
            if count % EVENTS_PER_TURN == 0:
                await asyncio.sleep(0)

    async def _call(self, event: Event) -> None:
        try:
            await self._listener(event)
        except BaseException as error:
            ends = _ends_task(error)
            if not ends or is_a(error, asyncio.CancelledError):
                await self._on_failure(self._listener, event, error)
            if ends:
                raise

    def finish(self) -> bool:
        """Return whether events remain; where none will deliver them, have that begun."""
        if self._mailbox.claim():
            self._start_on(background_portal.loop)
        elif self._mailbox.loop is not None and not self._mailbox.loop.is_running():
            self._drop_task()
            return False

        return self.pending > 0

    def end(self) -> None:
        """Do nothing: the events that wait are delivered."""

    def close(self) -> None:
        """Drop the waiting events."""
        self._mailbox.close()

    def reset(self) -> None:
        """Start afresh in a forked process, where the background loop is gone."""
        if self._mailbox.loop is not running_loop():
            self._task = self._turn = None
            self._mailbox.reset()


def receiver_for(
    listener: object, on_failure: AsyncFailureHandler, size: int, overflow: Overflow
) -> InlineReceiver | QueuedReceiver:
    """Return the receiver for a listener: inline for a sync one, queued for an async one.

    Raises:
        TypeError: the listener is not callable, or not with one positional argument.
    """
    check_takes("listener", listener, ("event",))
    if is_async(listener):
        return QueuedReceiver(cast("AsyncListener", listener), on_failure, size, overflow)

    return InlineReceiver(cast("Listener", listener))


def _ends_task(error: BaseException) -> bool:
    """Return whether an error ends the task, and is not only a failure of the listener."""
    if is_a(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    # An exit ends the user's own loop, as it does from any task; the background loop is shared.
    if is_a(error, (KeyboardInterrupt, SystemExit)):
        return not background_portal.is_here

    return is_a(error, GeneratorExit)


_turns: Final[dict[_Turn, QueuedReceiver]] = {}
"""The turns of receivers that deliver events. A loop itself holds its tasks weakly."""


def _finish() -> None:
    """Wait at the end of the process until listeners have seen what was published."""
    deadline = time.monotonic() + SHUTDOWN_SECONDS
    while time.monotonic() < deadline:
        remaining = [receiver for receiver in list(_turns.values()) if receiver.finish()]
        if not remaining:
            return
        time.sleep(FINISH_POLL_SECONDS)


def _after_fork() -> None:
    for receiver in list(_turns.values()):
        receiver.reset()


atexit.register(_finish)
in_children(_after_fork)
