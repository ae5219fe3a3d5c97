"""The journal in memory: all that the others can, for tests, and gone with the process."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from weakref import finalize

from eventflow.journal.contract import Fence
from eventflow.journal.rows import Settlement
from eventflow.journal.stores.sqlite import SqliteJournal
from eventflow.journal.stores.sqlite_session import SqliteSession, guarded
from eventflow.settings import Durability

__all__ = ["MemoryJournal", "opened"]


def opened(_url: str, durability: Durability) -> MemoryJournal:
    """Give a journal of its own for the URL `memory://`."""
    return MemoryJournal(durability)


class MemoryJournal(SqliteJournal):
    """A journal in the memory of one process. A forked child begins with an empty one."""

    def __init__(self, durability: Durability = "process") -> None:
        super().__init__(Path(":memory:"), durability)

    def _prepare_file(self) -> None:
        """There is none."""

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        # The memory lasts as long as the journal itself, which nobody else can close it for; and
        # not only until the end of the process begins, when the last lines are written.
        finalize(self, connection.close).atexit = False

        return connection

    def _in_place(self) -> bool:
        return True

    def close(self) -> None:
        """Keep everything: what a journal holds outlives its closing."""

    def before_fork(self) -> None:
        """Wait until nobody writes."""
        self._lock.acquire()

    def after_fork(self, *, child: bool) -> None:
        """Go on, in a child with an empty journal."""
        if child and self._session is not None:
            self._inherited.append(self._session.connection)
            self._session = None
        super().after_fork(child=child)

    @contextmanager
    def _own_transaction(self, settlement: Settlement, fence: Fence | None) -> Iterator[Any]:
        # There is one connection to this memory; the other threads wait.
        with self._lock:
            connection = self._open().connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                with guarded(connection):
                    yield connection
                self._acknowledge(SqliteSession(connection), settlement, fence)
            finally:
                with suppress(sqlite3.Error):
                    connection.rollback()
