"""A connection to SQLite in use: dialect, transactions and error codes."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, Final

from eventflow.journal.rows import sanitized
from eventflow.journal.stores.schema import tables

__all__ = ["SqliteSession", "code_of", "guarded", "is_busy", "transaction"]

_DIALECT: Final = {
    "@": "",
    # 32 hex digits, which a person with the tool `sqlite3` can read and type.
    "UUID": "TEXT",
    "ROWS": "WITHOUT ROWID",
    # Not AUTOINCREMENT, which writes a page more: `prune` keeps the last place from being reused.
    "PLACE": "place INTEGER PRIMARY KEY",
}
_WORDS: Final = re.compile(r"@|\bUUID\b|\bROWS\b|\bPLACE\b")

SIZES: Final = (512, 256, 128, 64, 32, 16, 8, 4, 2, 1)
"""How many rows one statement writes. Few sizes, none of them large: to compile a statement takes
as long as to write its rows, and it is reused only for the same number of rows.
"""


@lru_cache(maxsize=256)
def _rendered(text: str) -> str:
    return _WORDS.sub(lambda match: _DIALECT[match[0]], text)


@lru_cache(maxsize=64)
def _repeated(text: str, width: int, count: int) -> str:
    row = f"({', '.join('?' * width)})"

    return text.replace("EACH", ", ".join([row] * count))


class SqliteSession:
    """A connection to a SQLite file."""

    for_share = ""
    for_update = ""
    except_last_event = " AND r.id IS NOT (SELECT run_id FROM @events ORDER BY place DESC LIMIT 1)"

    __slots__ = ("connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def all(self, text: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        return self._execute(text, values).fetchall()

    def run(self, text: str, values: Sequence[Any] = ()) -> int:
        """Run a statement; return how many rows it changed."""
        return self._execute(text, values).rowcount

    def _execute(self, text: str, values: Sequence[Any]) -> sqlite3.Cursor:
        try:
            return self.connection.execute(_rendered(text), values)
        except UnicodeEncodeError:
            return self.connection.execute(_rendered(text), sanitized(values))

    def many(self, text: str, width: int, values: Sequence[Any]) -> None:
        """Run a statement for rows whose values follow each other, with many of them for EACH."""
        # Each step releases the GIL, and gets it back only after 5 ms if another thread computes:
        # therefore as few steps as possible. The last row is repeated to fill up a step, which
        # changes nothing: any row may be written twice.
        limit = self.connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // width
        remaining, start, last = len(values) // width, 0, [*values[-width:]]
        for size in SIZES:
            while size <= limit and remaining * 4 >= size * 3:
                rows = [*values[start : start + size * width], *last * (size - remaining)]
                self._execute(_repeated(text, width, size), rows)
                remaining, start = remaining - size, start + size * width

    def use_snapshot(self) -> None:
        """Do nothing: a transaction of SQLite reads from one snapshot anyway."""

    def now(self) -> int:
        """Return the time, in microseconds since 1970."""
        return time.time_ns() // 1000

    def glob(self, column: str, pattern: str) -> tuple[str, str]:
        """Return the condition that a text matches a glob, and the value in it."""
        return f"{column} GLOB ?", pattern.replace("[!", "[^")

    def version(self) -> int:
        """Return the version of the schema, 0 where there is none.

        Raises:
            sqlite3.DatabaseError: the file is damaged: it has not all the tables of its version.
        """
        names = {name for (name,) in self.all("SELECT name FROM sqlite_master")}
        if "meta" not in names:
            # Some of them alone may be another program's tables: those are left as they are.
            if tables(1) - names == {"meta"}:
                raise _damaged("the table meta is missing")
            return 0
        rows = self.all("SELECT value FROM @meta WHERE name = 'schema'")
        if not rows:
            raise _damaged("the version of its schema is missing")
        version = int(rows[0][0])
        missing = sorted(tables(version) - names)
        if missing:
            raise _damaged(f"the table {missing[0]} is missing")

        return version

    def wait_at_most(self, seconds: float) -> None:
        """Wait that long for the lock from now on."""
        self.run(f"PRAGMA busy_timeout = {int(seconds * 1000)}")


def _damaged(reason: str) -> sqlite3.DatabaseError:
    """Return the error that SQLite itself raises for a damaged file."""
    error = sqlite3.DatabaseError(reason)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT

    return error


@contextmanager
def transaction(connection: sqlite3.Connection, how: str = "IMMEDIATE") -> Iterator[None]:
    """Commit what is done in the block, or none of it.

    Immediate, as a transaction that reads first and writes later cannot wait for the lock.
    """
    connection.execute(f"BEGIN {how}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


@contextmanager
def guarded(connection: sqlite3.Connection) -> Iterator[None]:
    """Refuse to begin, commit or roll back a transaction within the block."""
    connection.set_authorizer(
        lambda action, *_: (
            sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_TRANSACTION else sqlite3.SQLITE_OK
        )
    )
    try:
        yield
    finally:
        connection.set_authorizer(None)


def code_of(error: BaseException | None) -> int:
    """Return the primary result code of an error of SQLite; 0 for other errors."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def is_busy(error: BaseException | None) -> bool:
    """Return whether another connection holds the lock."""
    return code_of(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
