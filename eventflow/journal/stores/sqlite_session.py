"""A connection to SQLite in use: dialect, transactions and error codes."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, Final

from eventflow.journal.rows import sanitized
from eventflow.journal.stores.schema import NAME_OF_STATE, OLD, tables
from eventflow.journal.stores.writing import Dialect

__all__ = [
    "BORN",
    "DIALECT",
    "OldShape",
    "SqliteSession",
    "code_of",
    "guarded",
    "is_busy",
    "prepare_file",
    "transaction",
]

_DIALECT: Final = {
    "@": "",
    # It takes no space.
    "SHOWN": f", state_name TEXT AS ({NAME_OF_STATE})",
    "UUID": "BLOB",
    "ROWS": "WITHOUT ROWID",
    # Not AUTOINCREMENT, which writes a page more: the last group keeps its place from being reused.
    "PLACE": "place INTEGER PRIMARY KEY",
}
_WORDS: Final = re.compile(r"@|\bUUID\b|\bROWS\b|\bPLACE\b|\bSHOWN\b")

SIZES: Final = (512, 256, 128, 64, 32, 16, 8, 4, 2, 1)
"""How many rows one statement writes. Few sizes, none of them large: to compile a statement takes
as long as to write its rows, and it is reused only for the same number of rows.
"""


BORN: Final = "(SELECT value FROM @meta WHERE name = 'born')"
"""When the file was created, in microseconds since 1970."""

DIALECT: Final = Dialect(
    raw="substr(:data, {at}, {width})",
    number="CAST(substr(:data, {at}, {width}) AS INT)",
    text="CAST(substr(:data, {at}, {width}) AS TEXT)",
    id="substr(:data, {at}, {width})",
    run="x'52'",
    nothing="x''",
    no_id=f"x'{'00' * 16}'",
    no_acks=f"x'{'00' * 11}'",
    events="CAST(@runs.events || x'0a' || excluded.events AS BLOB)",
    turn="1",
)


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

    __slots__ = ("connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def all(self, text: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        return self._execute(text, values).fetchall()

    def run(self, text: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> int:
        """Run a statement; return how many rows it changed."""
        return self._execute(text, values).rowcount

    def _execute(self, text: str, values: Sequence[Any] | Mapping[str, Any]) -> sqlite3.Cursor:
        try:
            return self.connection.execute(_rendered(text), values)
        except UnicodeEncodeError:
            assert not isinstance(values, Mapping)  # noqa: S101 - those have no text of users
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

    def id(self, number: int) -> bytes:
        """Return an id as the database has it."""
        return number.to_bytes(16)

    def number(self, value: bytes) -> int:
        """Return the number of an id that the database returned."""
        return int.from_bytes(value)

    def hex(self, expression: str) -> str:
        """Return the expression for the hex digits of an id."""
        return f"lower(hex({expression}))"

    def place(self, text: str, expression: str) -> str:
        """Return the expression for the first place of a text in bytes, 0 if it is not there."""
        return f"instr({expression}, x'{text.encode().hex()}')"

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
        if {"meta", OLD} <= names:
            raise OldShape
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


class OldShape(sqlite3.DatabaseError):
    """The file is a journal of a version that stored it in another shape."""


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


def prepare_file(connection: sqlite3.Connection, seconds: float) -> None:
    """Set what stays with the file, where it is not set yet: it needs the lock for writing.

    That it waits for so long.
    """
    if connection.execute("PRAGMA page_count").fetchone() == (0,):
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    deadline = time.monotonic() + seconds
    while connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # SQLite itself does not wait for the lock here.
            if not is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            return


def code_of(error: BaseException | None) -> int:
    """Return the primary result code of an error of SQLite; 0 for other errors."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def is_busy(error: BaseException | None) -> bool:
    """Return whether another connection holds the lock."""
    return code_of(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
