"""Events read one after the other: what `bus.stream` and `bus.wait_for` are made of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Any

from eventflow.eventbus.mailbox import Mailbox
from eventflow.events import Event

__all__ = ["EventStream", "MailboxReceiver"]


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
