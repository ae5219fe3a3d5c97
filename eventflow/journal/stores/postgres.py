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
from eventflow.journal.contract import Cursor, Fence, Finding, Pruned, Statistics, UnstorableError
from eventflow.journal.format import Rows
from eventflow.journal.rows import Codec, Settlement, micros, sound
from eventflow.journal.stores import statements
from eventflow.journal.stores.database import SqlJournal, migrate
from eventflow.journal.stores.schema import VERSION
from eventflow.journal.stores.statements import EVENT_COLUMNS, Session
from eventflow.primitives import forks
from eventflow.settings import CREDENTIALS, MASK, Durability

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    from eventflow.journal.stores.postgres_connection import Connection, NoAnswer
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

ANSWER_SECONDS: Final = 10.0
"""How long an answer is waited for."""

IDLE_SECONDS: Final = 5
"""How long a process that stands still may keep others from what it has in a transaction."""

SIZES: Final = (64, 16, 4, 1)
"""How many rows one statement writes: few different statements, and none that is sent in parts."""

_BAD_ROW: Final = (
    *(psycopg.IntegrityError, psycopg.DataError),
    *(TypeError, ValueError, AttributeError, OverflowError),
)
_LOST: Final = (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout)
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

    def many(self, text: str, width: int, values: Sequence[Any]) -> None:
        # Not by `executemany`, which sends row after row without waiting: to the server, a process
        # that stands still between two of them is at work, and may keep its locks for ever.
        row, start, left = f"({', '.join('?' * width)})", 0, len(values) // width
        for size in SIZES:
            while left >= size:
                some = values[start : start + size * width]
                self._execute(text.replace("EACH", ", ".join([row] * size)), some)
                left, start = left - size, start + size * width

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
        # Not `to_regclass`: it may remember from before the lock that there is none.
        text = "SELECT 1 FROM pg_class WHERE relname = '@meta' AND pg_table_is_visible(oid)"
        if not self.all(text):
            return 0

        return int(self.all("SELECT value FROM @meta WHERE name = 'schema'")[0][0])


class PostgresJournal(SqlJournal):
    """A journal in a PostgreSQL database, whose tables are made on first use.

    They are called `eventflow_...` and stand in the first schema of the connection's search path.
    """

    codec = Codec(lambda value: value)
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
        self._connection: Connection | None = None
        self._inherited: list[Any] = []
        forks.watch(self)

    # -- the connection -----------------------------------------------------------------------

    def _open(self) -> Connection:
        if self._connection is None or self._connection.closed:
            connection = self._connect()
            try:
                connection.patience = ANSWER_SECONDS
                idle = f"SET SESSION idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'"
                connection.execute(idle.encode())
                connection.commit()
                self._make_ready(_Session(connection))
            except BaseException:
                connection.close()
                raise
            self._connection = connection

        return self._connection

    def _connect(self) -> Connection:
        connection = Connection.connect(
            make_conninfo("", **CONNECTION | conninfo_to_dict(self.url))
        )
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

    def transact(self, work: Callable[[Session], T]) -> T:
        """Do the work in a transaction of its own."""
        if self.engaged():
            raise JournalError("This thread is within a transaction of a hook's own; commit later.")
        try:
            return self._use(work, soundly=False)
        except UnstorableError as error:
            if not isinstance(error.__cause__, psycopg.DataError | UnicodeEncodeError):
                raise
            return self._use(work, soundly=True)

    def read(self, work: Callable[[Session], T]) -> T:
        """Do work that changes nothing."""
        return self._use(work, soundly=False)

    def _use(self, work: Callable[[Session], T], *, soundly: bool) -> T:
        with self._lock:
            # A server that was restarted is found out only by using the connection.
            again = self._connection is not None
            try:
                return self._attempt(work, soundly=soundly)
            except _LOST as error:
                self.close()
                if not again or isinstance(error, NoAnswer):
                    raise JournalError(self._explained(error)) from error
            try:
                return self._attempt(work, soundly=soundly)
            except _LOST as error:
                self.close()
                raise JournalError(self._explained(error)) from error

    def _attempt(self, work: Callable[[Session], T], *, soundly: bool) -> T:
        try:
            connection = self._open()
            connection.patience = None if self._at_leisure() else ANSWER_SECONDS
            with connection.transaction():
                return work(_Session(connection, soundly=soundly))
        except _LOST:
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
        return f"The journal {self._shown()} cannot be used: {str(error).strip().rstrip('.')}."

    def _at_leisure(self) -> bool:
        """Whether this thread does what may take minutes in a large journal."""
        return getattr(self._here, "leisure", False)

    @contextmanager
    def _leisurely(self) -> Iterator[None]:
        self._here.leisure = True
        try:
            yield
        finally:
            self._here.leisure = False

    def _commit(self, rows: Rows, fence: Fence | None) -> None:
        def work(session: Session) -> None:
            statements.write(session, rows, fence)
            if rows.events:
                session.run(f"NOTIFY {CHANNEL}")

        self.transact(work)

    @contextmanager
    def _own_transaction(self, settlement: Settlement, fence: Fence | None) -> Iterator[Any]:
        self.read(lambda session: statements.check(session, fence))
        try:
            connection = self._connect()
        except psycopg.Error as error:
            raise JournalError(self._explained(error)) from error
        try:
            # psycopg refuses a commit or rollback by the hook within this block.
            with connection.transaction():
                yield connection
                statements.settle(_Session(connection), settlement, fence)
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
        epoch = int(self.read(lambda session: session.all(text, values))[0][0])

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

    def size(self) -> int:
        """Give how many bytes are in use."""
        # What the rows take, not the files: those do not shrink when rows are deleted.
        tables = ("@runs", "@events", "@deliveries", "@owners")
        each = "(SELECT coalesce(sum(pg_column_size(t.*)), 0) FROM {} t)"
        text = "SELECT " + " + ".join(each.format(one) for one in tables)

        return int(self.read(lambda session: session.all(text))[0][0])

    def prune(self, *, older_than: datetime | None = None, max_bytes: int | None = None) -> Pruned:
        """Delete runs that ended before a moment, and then the oldest until the size fits."""
        with self._leisurely():
            return super().prune(older_than=older_than, max_bytes=max_bytes)

    def verify(self) -> list[Finding]:
        """Look for what must not be; an empty list is a clean journal."""
        with self._leisurely():
            return super().verify()

    def statistics(self) -> Statistics:
        """Give how much there is of what."""
        with self._leisurely():
            return super().statistics()
