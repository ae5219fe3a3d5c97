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
from eventflow.journal.stores.schema import LONG, NAME_OF_STATE, OLD, tables
from eventflow.journal.stores.statements import Session
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
    "MOVE": (
        "CREATE TRIGGER runs_moved AFTER UPDATE OF events ON runs"
        f" WHEN length(old.events) >= {LONG}"
        " BEGIN INSERT INTO parts VALUES (old.id, old.sequence, old.events); END"
    ),
}
_WORDS: Final = re.compile(r"@|\b(?:UUID|ROWS|PLACE|SHOWN|MOVE)\b")

BORN: Final = "(SELECT value FROM @meta WHERE name = 'born')"
"""When the file was created, in microseconds since 1970."""

DIALECT: Final = Dialect(
    raw="substr(:data, {at}, {width})",
    number="CAST(substr(:data, {at}, {width}) AS INT)",
    text="CAST(substr(:data, {at}, {width}) AS TEXT)",
    id="substr(:data, {at}, {width})",
    run="x'52'",
    no_id=f"x'{'00' * 16}'",
    no_acks=f"x'{'00' * 11}'",
    joined="CAST(@runs.events || x'0a' || excluded.events AS BLOB)",
    whole="substr(excluded.events, 1, 1) NOT IN (x'21', x'2b')",
    turn="1",
)


@lru_cache(maxsize=256)
def _rendered(text: str) -> str:
    return _WORDS.sub(lambda match: _DIALECT[match[0]], text)


class SqliteSession(Session):
    """A connection to a SQLite file."""

    # Each step releases the GIL, and gets it back only after 5 ms if another thread computes:
    # therefore as few steps as possible. Few sizes, none of them large: to compile a statement
    # takes as long as to write its rows, and it is reused only for the same number of rows.
    SIZES = (512, 256, 128, 64, 32, 16, 8, 4, 2, 1)
    FILL = 0.75
    MOST = 30_000 if sqlite3.sqlite_version_info >= (3, 32) else 999
    HEX = "lower(hex({}))"
    PLACE = "instr({1}, x'{0}')"
    TEXT = "CAST({} AS TEXT)"

    __slots__ = ("connection", "lists")

    def __init__(self, connection: sqlite3.Connection, lists: dict[str, Any]) -> None:
        self.connection = connection
        self.lists = lists

    def execute(self, text: str, values: Sequence[Any] | Mapping[str, Any]) -> sqlite3.Cursor:
        try:
            return self.connection.execute(_rendered(text), values)
        except UnicodeEncodeError:
            assert not isinstance(values, Mapping)  # noqa: S101 - those have no text of users
            return self.connection.execute(_rendered(text), sanitized(values))

    def id(self, number: int) -> bytes:
        return number.to_bytes(16)

    def number(self, value: bytes) -> int:
        return int.from_bytes(value)

    def now(self) -> int:
        return time.time_ns() // 1000

    def glob(self, column: str, pattern: str) -> tuple[str, str]:
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
