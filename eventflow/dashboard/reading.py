"""Reads the journal for many pages at once: one archive for each reader, kept open."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from anyio import to_thread

from eventflow.client.archive import Archive
from eventflow.client.journals import journal_file, opened_journal
from eventflow.errors import EventflowError
from eventflow.journal import open_journal
from eventflow.settings import EVENTFLOW_DURABILITY, EVENTFLOW_JOURNAL_URL
from eventflow.wiring import recorder

__all__ = ["Source"]

T = TypeVar("T")


class Source:
    """The journal in force. Archives are not thread-safe: each reader has one of its own."""

    def __init__(self) -> None:
        self._idle: deque[Archive] = deque()
        self._is_closed = False

    @contextmanager
    def archive(self) -> Iterator[Archive | None]:
        """Open the journal for a block; yields None where there is none yet.

        Raises:
            JournalError: the journal cannot be reached.
        """
        if recorder() is not None:
            # It records itself: a journal in memory exists nowhere else.
            with opened_journal() as journal:
                yield None if journal is None else Archive(journal)
            return
        file = journal_file()
        if file is not None and not file.is_file():
            yield None
            return
        archive = self._taken()
        try:
            yield archive
        except BaseException:
            with suppress(EventflowError):
                archive.journal.close()
            raise
        self._idle.append(archive)
        if self._is_closed:
            # A thread may read for longer than the loop that it reads for.
            self.close()

    def _taken(self) -> Archive:
        try:
            return self._idle.pop()
        except IndexError:
            url, durability = EVENTFLOW_JOURNAL_URL.value(), EVENTFLOW_DURABILITY.value()
            return Archive(open_journal(url, durability))

    async def read(self, query: Callable[[Archive | None], T]) -> T:
        """Call a query in a thread; it gets None where there is no journal yet.

        Raises:
            JournalError: the journal cannot be reached.
        """

        def work() -> T:
            with self.archive() as archive:
                return query(archive)

        return await to_thread.run_sync(work)

    def close(self) -> None:
        """Close what is open, as soon as it is in no use."""
        self._is_closed = True
        with suppress(IndexError):
            while True:
                self._idle.pop().journal.close()
