"""The journal in memory, for tests: it ends with the process."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from weakref import finalize

from eventflow.journal.claims import Claim
from eventflow.journal.contract import Fence
from eventflow.journal.records import Settled
from eventflow.journal.stores.sqlite import SqliteJournal
from eventflow.journal.stores.sqlite_session import SqliteSession, guarded
from eventflow.settings import Durability

__all__ = ["MemoryJournal", "opened"]


def opened(_url: str, durability: Durability) -> MemoryJournal:
    """Make a new journal for the URL `memory://`."""
    return MemoryJournal(durability)


class MemoryJournal(SqliteJournal):
    """A journal in the memory of one process. A forked child begins with an empty one."""

    def __init__(self, durability: Durability = "process") -> None:
        super().__init__(Path(":memory:"), durability)

    def _create_file(self) -> None:
        """Do nothing: there is no file."""

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        # The memory lasts as long as the journal object, also at exit, when the last records are
        # yet to be written.
        finalize(self, connection.close).atexit = False

        return connection

    def _is_same_file(self) -> bool:
        return True

    def close(self) -> None:
        """Do nothing: the content of a journal outlives its closing."""

    def _leave_to_parent(self) -> None:
        if self._session is not None:
            self._inherited.append(self._session.connection)
            self._session = None
        super()._leave_to_parent()

    @contextmanager
    def _hook_transaction(self, settled: Settled, fence: Fence | Claim | None) -> Iterator[Any]:
        # There is only one connection to this memory: the other threads wait.
        with self._lock:
            connection = self._open().connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                with guarded(connection):
                    yield connection
                self._acknowledge(SqliteSession(connection, self._lists), settled, fence)
            finally:
                with suppress(sqlite3.Error):
                    connection.rollback()
