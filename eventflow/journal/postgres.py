"""The journal in PostgreSQL (13 or newer), shared by many machines."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from fnmatch import translate
from functools import lru_cache
from typing import Any, ClassVar, Final, TypeVar

from eventflow.errors import JournalError, MissingExtraError
from eventflow.journal import forks, sql
from eventflow.journal.base import Batch, Cursor, Fence, UnstorableError
from eventflow.journal.database import SqlJournal, migrate
from eventflow.journal.rows import Codec, Settlement, micros, sound
from eventflow.journal.schema import VERSION
from eventflow.journal.sql import EVENT_COLUMNS, Session
from eventflow.settings import CREDENTIALS, MASK, Durability

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
except ImportError as error:
    raise MissingExtraError("A journal in PostgreSQL", "psycopg", "postgres") from error

__all__ = ["PostgresJournal", "opened"]

T = TypeVar("T")

CHANNEL: Final = "eventflow_events"
"""Where every commit of events is made known."""

MIGRATION_LOCK: Final = 0x6576_656E_7466_6C6F
"""What keeps two processes from making the tables at once."""

CONNECTION: Final[dict[str, Any]] = {
    "client_encoding": "UTF8",
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""How soon a server that does not answer counts as gone, above all; the URL goes first."""

_BAD_ROW: Final = (
    *(psycopg.IntegrityError, psycopg.DataError),
    *(TypeError, ValueError, AttributeError, OverflowError),
)
_DIALECT: Final = {
    "@": "eventflow_",
    "?": "%s",
    "%": "%%",
    "INT": "BIGINT",
    "FLOAT": "DOUBLE PRECISION",
    "ROWS": "",
    "PLACE": (
        "epoch BIGINT NOT NULL DEFAULT pg_current_xact_id()::text::bigint,"
        " place BIGINT GENERATED ALWAYS AS IDENTITY, PRIMARY KEY (epoch, place)"
    ),
}
_WORDS: Final = re.compile(r"[@?%]|\b(?:INT|FLOAT|ROWS|PLACE)\b")


@lru_cache(maxsize=256)
def _rendered(text: str) -> str:
    return _WORDS.sub(lambda found: _DIALECT[found[0]], text)


def opened(url: str, durability: Durability) -> PostgresJournal:
    """Give the journal of a URL `postgresql://...`."""
    return PostgresJournal(url, durability)


class _Session:
    """A connection to PostgreSQL."""

    share = " FOR SHARE"
    take = " FOR UPDATE OF r SKIP LOCKED"
    unmoved = ""

    __slots__ = ("connection", "soundly")

    def __init__(self, connection: psycopg.Connection[Any], *, soundly: bool = False) -> None:
        self.connection = connection
        self.soundly = soundly

    def all(self, text: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._execute(text, values).fetchall()

    def run(self, text: str, values: Sequence[Any] = ()) -> int:
        return self._execute(text, values).rowcount

    def _execute(self, text: str, values: Sequence[Any]) -> psycopg.Cursor[Any]:
        # A text made from constants, whatever the type checker can see of it.
        return self.connection.execute(_rendered(text).encode(), self._sound(values))

    def many(self, text: str, rows: Sequence[Sequence[Any]]) -> None:
        with self.connection.cursor() as cursor:
            cursor.executemany(_rendered(text).encode(), [self._sound(row) for row in rows])

    def _sound(self, values: Sequence[Any]) -> Sequence[Any]:
        return sound(values) if self.soundly else values

    def freeze(self) -> None:
        self.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")

    def now(self) -> int:
        # The server's: the clocks of many machines are not one.
        return int(
            self.all("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")[0][0]
        )

    def glob(self, column: str, pattern: str) -> tuple[str, str]:
        # Python's dialect of it, but for the two ends.
        body = translate(pattern)[len("(?s:") : -len(")\\Z")].replace("(?>", "(?:")
        return f"{column} ~ ?", f"^(?:{body})$"

    def version(self) -> int:
        if self.all("SELECT to_regclass('@meta')")[0][0] is None:
            return 0

        return int(self.all("SELECT value FROM @meta WHERE name = 'schema'")[0][0])


class PostgresJournal(SqlJournal):
    """A journal in a PostgreSQL database, whose tables are made on first use.

    They are called `eventflow_...` and stand in the first schema of the connection's search path.
    """

    codec = Codec(lambda value: value, lambda value: value)
    # Transactions do not end in the order in which they take places, and one that is open yet may
    # have taken an earlier place: an event counts when nothing as old as its transaction is open.
    AFTER: ClassVar = (
        f"SELECT epoch, place, {EVENT_COLUMNS} FROM @events WHERE (epoch, place) > (?, ?)"  # noqa: S608 - fixed text
        " AND epoch < pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
        " ORDER BY epoch, place LIMIT ?"
    )

    def __init__(self, url: str, durability: Durability = "process") -> None:
        super().__init__(durability)
        self.url = url
        self._lock = threading.RLock()
        self._connection: psycopg.Connection[Any] | None = None
        self._inherited: list[Any] = []
        forks.watch(self)

    # -- the connection -----------------------------------------------------------------------

    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            connection = self._connect()
            try:
                self._make_ready(_Session(connection))
            except BaseException:
                connection.close()
                raise
            self._connection = connection

        return self._connection

    def _connect(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(make_conninfo("", **CONNECTION | conninfo_to_dict(self.url)))
        try:
            if self.durability == "off":
                connection.execute("SET SESSION synchronous_commit = off")
            connection.commit()
        except BaseException:
            connection.close()
            raise

        return connection

    def _make_ready(self, session: _Session) -> None:
        with session.connection.transaction():
            if session.version() == VERSION:
                return
            session.run("SELECT pg_advisory_xact_lock(?)", (MIGRATION_LOCK,))
            version = session.version()
            migrate(session, version, self._shown())

    def _shown(self) -> str:
        return CREDENTIALS.sub(MASK, self.url)

    def close(self) -> None:
        """Let go of the connection; the next use opens another."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                with suppress(psycopg.Error):
                    connection.close()

    def before_fork(self) -> None:
        """Wait until nobody writes."""
        self._lock.acquire()

    def after_fork(self, *, child: bool) -> None:
        """Go on, in a child with a connection of its own."""
        if child and self._connection is not None:
            # Not closed: that would say goodbye in the parent's name.
            self._inherited.append(self._connection)
            self._connection = None
        self._lock.release()

    # -- working ------------------------------------------------------------------------------

    def _transact(self, work: Callable[[Session], T]) -> T:
        if self.engaged():
            raise JournalError("This thread is within a transaction of a hook's own; commit later.")
        try:
            return self._use(work, soundly=False)
        except UnstorableError as error:
            if not isinstance(error.__cause__, psycopg.DataError | UnicodeEncodeError):
                raise
            return self._use(work, soundly=True)

    def _read(self, work: Callable[[Session], T]) -> T:
        return self._use(work, soundly=False)

    def _use(self, work: Callable[[Session], T], *, soundly: bool) -> T:
        with self._lock:
            # A server that was restarted is found out only by using the connection.
            again = self._connection is not None
            try:
                return self._attempt(work, soundly=soundly)
            except psycopg.OperationalError as error:
                self.close()
                if not again:
                    raise JournalError(self._explained(error)) from error
            try:
                return self._attempt(work, soundly=soundly)
            except psycopg.OperationalError as error:
                self.close()
                raise JournalError(self._explained(error)) from error

    def _attempt(self, work: Callable[[Session], T], *, soundly: bool) -> T:
        try:
            connection = self._open()
            with connection.transaction():
                return work(_Session(connection, soundly=soundly))
        except psycopg.OperationalError:
            raise
        except _BAD_ROW as error:
            raise UnstorableError(
                f"A row cannot be stored in the journal {self._shown()}: {error!r}."
            ) from error
        except psycopg.Error as error:
            # Tables that vanished, say: the next use looks after them.
            self.close()
            raise JournalError(self._explained(error)) from error

    def _explained(self, error: Exception) -> str:
        return f"The journal {self._shown()} cannot be used: {str(error).strip()}."

    def commit(self, batch: Batch) -> None:
        """Write a batch, whole or not at all."""

        def work(session: Session) -> None:
            sql.write(session, self.codec, batch)
            if batch.events:
                session.run(f"NOTIFY {CHANNEL}")

        self._transact(work)

    @contextmanager
    def _own_transaction(self, settlement: Settlement, fence: Fence | None) -> Iterator[Any]:
        self._read(lambda session: sql.check(session, fence))
        try:
            connection = self._connect()
        except psycopg.Error as error:
            raise JournalError(self._explained(error)) from error
        try:
            # psycopg refuses a commit or rollback by the hook within this block.
            with connection.transaction():
                yield connection
                sql.settle(_Session(connection), self.codec, settlement, fence)
        finally:
            connection.close()

    # -- reading and tending ------------------------------------------------------------------

    def cursor(self, before: datetime | None = None) -> Cursor:
        """Give the cursor of the end, or one with every event since a moment still to come."""
        last = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
        if before is None:
            text = f"SELECT {last}"
            values: tuple[int, ...] = ()
        else:
            first = "SELECT min(epoch) FROM @events WHERE occurred >= ?"
            text, values = f"SELECT least({last}, ({first}))", (micros(before),)
        epoch = int(self._read(lambda session: session.all(text, values))[0][0])

        return epoch - 1, 2**62

    def wait(self, cursor: Cursor, timeout: float) -> bool:
        """Wait at most `timeout` seconds for an event after the cursor; says whether one came."""
        deadline = time.monotonic() + timeout
        try:
            with self._connect() as connection:
                connection.autocommit = True
                connection.execute(f"LISTEN {CHANNEL}")
                while not self.events_after(cursor, 1)[0]:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        return False
                    # Bounded: an event that was held back by an older transaction is not told of.
                    for _ in connection.notifies(timeout=min(left, 0.5), stop_after=1):
                        pass
        except psycopg.Error as error:
            raise JournalError(self._explained(error)) from error

        return True

    def _size(self) -> int:
        # What the rows take, not the files: those do not shrink when rows are deleted.
        tables = ("@runs", "@events", "@deliveries", "@owners")
        each = "(SELECT coalesce(sum(pg_column_size(t.*)), 0) FROM {} t)"
        text = "SELECT " + " + ".join(each.format(one) for one in tables)

        return int(self._read(lambda session: session.all(text))[0][0])
