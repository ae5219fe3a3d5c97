"""Live pages: one reader of the journal's feed, and a stream of what changes in each page."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Final, NamedTuple
from uuid import UUID

import anyio
from anyio import to_thread

from eventflow.client.archive import Archive
from eventflow.client.journals import take_in_ended
from eventflow.client.timeline import CHUNK
from eventflow.dashboard.reading import Source
from eventflow.dashboard.rendering import render
from eventflow.dashboard.views.page import Page, View
from eventflow.dashboard.views.tallies import Tallies
from eventflow.errors import EventflowError
from eventflow.journal.contract import Cursor, RunQuery
from eventflow.journal.rows import EventRow

__all__ = ["Feed", "Part", "Turns", "mark_of"]

POLL_SECONDS: Final = 0.1
"""How often the feed is read."""

UPDATE_SECONDS: Final = 0.25
"""How often a page is told of changes at most."""

QUIET_SECONDS: Final = 2.0
"""How often a page is read that waits for what the feed does not have, such as a redrive."""

SHARE: Final = 0.2
"""How much of a processor all pages together take at most, if they change all the time."""

LONGEST_SECONDS: Final = 5.0
"""How long a page waits for its next update at most, whatever that takes."""

PING_SECONDS: Final = 15.0
"""After how long without a change a stream shows that it is alive."""

STREAMS: Final = 4
"""How many streams one browser has at a time."""

CACHED: Final = 512


class Part(NamedTuple):
    """What changes in a page, as it was at a change; `begun` and `seconds` say what that took."""

    text: str
    page: Page
    number: int
    begun: float
    seconds: float


class Feed:
    """Reads the feed for all pages, and reads each page once for all who have it open."""

    def __init__(self, source: Source, tallies: Tallies) -> None:
        self._source = source
        self._tallies = tallies
        self._changed = asyncio.Event()
        self.cursor: Cursor | None = None
        self.number = 0
        """Of the last change that was noticed."""
        self._last: dict[UUID, int] = {}
        # The last change that may be of any run.
        self._any = 0
        self._turns = Turns()
        self._open: Counter[str] = Counter()
        self._parts: dict[str, asyncio.Future[Part]] = {}

    # -- reading ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Read the feed until this is cancelled."""
        while True:
            with suppress(EventflowError, OSError):
                touched = await to_thread.run_sync(self._read)
                if touched is not None:
                    self._note(touched)
            await anyio.sleep(POLL_SECONDS)

    def _read(self) -> set[UUID] | None:
        """Return the runs that have changed, or none if all may have; None if nothing has."""
        take_in_ended()
        with self._source.archive() as archive:
            if archive is None:
                self.cursor = None
                return None
            if self.cursor is None:
                self.cursor = archive.journal.cursor()
                # So that it is known how long counts take.
                for query in (RunQuery(top=True), RunQuery()):
                    self._tallies.of(archive, query, may_wait=True)
                return set()
            rows, after = archive.journal.events_after(self.cursor, CHUNK)
            if after == self.cursor:
                return None
            self.cursor = after
            found: set[UUID] = set()
            for row in rows:
                if isinstance(row, EventRow):
                    found |= _with_ancestors(archive, row.run_id)

            return found

    def _note(self, touched: set[UUID]) -> None:
        self.number += 1
        if not touched or len(self._last) > CACHED * 16:
            self._any = self.number
            self._last.clear()
        self._last.update(dict.fromkeys(touched, self.number))
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _number_of(self, page: Page) -> int:
        """Return the last change that may be of a page."""
        if page.run_id is None:
            return self.number

        return max(self._any, self._last.get(page.run_id, 0))

    # -- pages ------------------------------------------------------------------------------

    async def stream(self, key: str, view: View, client: str, after: str) -> AsyncIterator[bytes]:
        """Yield the events of a stream: the part of the page that changes, whenever it has.

        `client` is who asks; `after` is the mark of the part as it is shown.
        """
        turn = self._turns.begin(client)
        self._open[key] += 1
        part: Part | None = None
        try:
            while not turn.is_set():
                part = await self._part(key, view, part)
                mark = mark_of(part.text)
                # A comment otherwise, which shows that the stream is alive.
                yield b": \n\n" if mark == after else _event(mark, part.text)
                after = mark
                await self._until(self._next(part, turn), _patience(part.page))
                await self._until(turn.wait(), self._pause(part))
        finally:
            self._turns.end(client, turn)
            self._open[key] -= 1
            # Those that are zero.
            self._open = +self._open

    def end(self) -> None:
        """End all streams."""
        self._turns.close()

    async def _next(self, part: Part, turn: asyncio.Event) -> None:
        """Wait for a later change that may be of a page, or for the end of the turn."""
        while self._number_of(part.page) <= part.number and not turn.is_set():
            changed = self._changed
            waiting = [asyncio.ensure_future(each.wait()) for each in (changed, turn)]
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in waiting:
                    each.cancel()

    @staticmethod
    async def _until(awaited: Coroutine[Any, Any, Any], seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(awaited, seconds)

    def _pause(self, part: Part) -> float:
        """Return how long to wait until a page may be read again.

        It is the same moment for all who have it open. The longer a page takes, and the more pages
        are open, the less often each is read, so that most of the time is left to others.
        """
        least = part.seconds * max(3.0, len(self._open) / SHARE)
        pause = min(max(UPDATE_SECONDS, least), LONGEST_SECONDS)

        return max(0.0, part.begun + pause - time.monotonic())

    async def _part(self, key: str, view: View, last: Part | None) -> Part:
        """Read and render what changes in a page, once for all who have it open.

        `last` is what was sent last: who has it gets what another has been sent since then.
        """
        known = self._parts.get(key)
        if known is None or (known.done() and not self._is_new(known, last)):
            if len(self._parts) > CACHED:
                self._parts.clear()
            known = asyncio.ensure_future(self._source.read(_reading(view, self.number)))
            self._parts[key] = known

        return await asyncio.shield(known)

    def _is_new(self, known: asyncio.Future[Part], last: Part | None) -> bool:
        """Return whether a part need not be read again."""
        if known.cancelled() or known.exception() is not None:
            return False
        part = known.result()

        is_later = part.number == self.number or (last is not None and part.begun > last.begun)

        return is_later and self._pause(part) > 0


def _reading(view: View, number: int) -> Callable[[Archive | None], Part]:
    def work(archive: Archive | None) -> Part:
        begun, before = time.monotonic(), time.thread_time()
        page = view(archive)
        text = render(page.part, **page.values)

        return Part(text, page, number, begun, time.thread_time() - before)

    return work


def _patience(page: Page) -> float:
    """Return after how long to look again without a change."""
    return PING_SECONDS if page.settled else QUIET_SECONDS


def mark_of(text: str) -> str:
    """Return the mark of a part: the id of its event, by which a stream goes on where it was."""
    return blake2b(text.encode(), digest_size=8).hexdigest()


class Turns:
    """Who may have a stream: the last few of each client, as a browser has six connections.

    A stream whose turn has ended comes again, and another one has to end: so many pages that are
    open at once are told in turn, and one connection is always left for a page to load.
    """

    def __init__(self) -> None:
        self._of: dict[str, deque[asyncio.Event]] = {}
        self._is_closed = False

    def begin(self, client: str) -> asyncio.Event:
        """Begin a turn; return what is set at its end."""
        turns, turn = self._of.setdefault(client, deque()), asyncio.Event()
        turns.append(turn)
        if self._is_closed:
            turn.set()
        if len(turns) > STREAMS:
            turns.popleft().set()

        return turn

    def end(self, client: str, turn: asyncio.Event) -> None:
        """Note that a stream has ended."""
        turns = self._of.get(client, deque())
        if turn in turns:
            turns.remove(turn)
        if not turns:
            self._of.pop(client, None)

    def close(self) -> None:
        """End all turns, also those that come."""
        self._is_closed = True
        for turns in self._of.values():
            for turn in turns:
                turn.set()


def _event(id_: str, text: str) -> bytes:
    lines = "".join(f"data: {line}\n" for line in text.splitlines())

    return f"id: {id_}\n{lines}\n".encode()


def _with_ancestors(archive: Archive, run_id: UUID) -> set[UUID]:
    found: set[UUID] = set()
    current: UUID | None = run_id
    while current is not None and current not in found:
        found.add(current)
        row = archive.row(current)
        current = None if row is None else row.parent_run_id

    return found
