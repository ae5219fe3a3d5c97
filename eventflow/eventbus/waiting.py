"""Waiting for events: a stream of them, and the next one."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeAlias

from eventflow.eventbus.filters import Filter
from eventflow.eventbus.mailbox import Mailbox, Overflow
from eventflow.eventbus.receivers import MailboxReceiver
from eventflow.eventbus.subscriptions import Receiver, Subscription
from eventflow.interrupts.portals import required_loop
from eventflow.interrupts.waiting import check_timeout

__all__ = ["EventStream", "stream", "wait_for"]

Attach: TypeAlias = Callable[[str, Receiver, Filter], Subscription]
"""Subscribes a receiver under a name; of the bus on which events are waited for."""


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


@contextlib.asynccontextmanager
async def stream(
    attach: Attach, chosen: Filter, size: int, overflow: Overflow
) -> AsyncIterator[EventStream]:
    """Subscribe for a block, and have its events read with `async for`."""
    mailbox = Mailbox("stream", size, overflow, loop=required_loop("bus.stream()"))
    with attach("stream", MailboxReceiver(mailbox), chosen):
        yield EventStream(mailbox)


def wait_for(attach: Attach, chosen: Filter, timeout: float | None) -> Coroutine[Any, Any, Any]:
    """Subscribe; return what waits for the next event, and unsubscribes in the end.

    Dropped without being awaited, it unsubscribes as well, and Python warns of it.
    """
    check_timeout(timeout)
    mailbox = Mailbox("wait_for", 1, "drop_newest")
    subscription = attach("wait_for", MailboxReceiver(mailbox), chosen)
    waiting = _next(mailbox, subscription, timeout)
    weakref.finalize(waiting, subscription.cancel).atexit = False

    return waiting


async def _next(mailbox: Mailbox, subscription: Subscription, timeout: float | None) -> Any:
    with subscription:
        required_loop("bus.wait_for()")
        try:
            async with asyncio.timeout(timeout):
                event = await mailbox.get()
        except TimeoutError:
            raise TimeoutError(
                f"No event came within {timeout:g} s for: {subscription.filter}."
            ) from None
    if event is None:
        raise RuntimeError(f"The wait was cancelled on the bus; it was for: {subscription.filter}.")

    return event
