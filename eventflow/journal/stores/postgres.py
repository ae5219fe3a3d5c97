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
from eventflow.journal.rows import Codec, Settlement, micros, sanitized
from eventflow.journal.stores import statements
from eventflow.journal.stores.database import SqlJournal, migrate
from eventflow.journal.stores.hook_sets import write_hook_sets
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
"""The channel on which every commit of events is notified."""

MIGRATION_LOCK: Final = 0x6576_656E_7466_6C6F
"""The advisory lock that keeps two processes from making the tables at once."""

CONNECTION: Final[dict[str, Any]] = {
    "client_encoding": "UTF8",
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""Options of a connection, mostly on how soon a silent server counts as gone; the URL overrides."""

ANSWER_SECONDS: Final = 10.0
"""How long to wait for an answer."""

LAST_SECONDS: Final = 2
"""How long to wait for a connection or an answer once the process is in a hurry to end."""

IDLE_SECONDS: Final = 5
"""How long a stopped process may keep the locks of its transaction."""

SIZES: Final = (64, 16, 4, 1)
"""How many rows one statement writes: few different statements, none so long that it is split."""

_UNSTORABLE: Final = (
    *(psycopg.IntegrityError, psycopg.DataError),
    *(TypeError, ValueError, AttributeError, OverflowError),
)
_DISCONNECTED: Final = (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout)
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
    return _WORDS.sub(lambda match: _DIALECT[match[0]], text)


def opened(url: str, durability: Durability) -> PostgresJournal:
    """Make the journal of a URL `postgresql://...`."""
    return PostgresJournal(url, durability)


class _Session:
    """A connection to PostgreSQL in use; `sanitize` replaces characters that it cannot store."""

    for_share = " FOR SHARE"
    for_update = " FOR UPDATE OF r SKIP LOCKED"
    except_last_event = ""

    __slots__ = ("connection", "sanitize")

    def __init__(self, connection: psycopg.Connection[Any], *, sanitize: bool = False) -> None:
        self.connection = connection
        self.sanitize = sanitize

    def all(self, text: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._execute(text, values).fetchall()

    def run(self, text: str, values: Sequence[Any] = ()) -> int:
        return self._execute(text, values).rowcount

    def _execute(self, text: str, values: Sequence[Any]) -> psycopg.Cursor[Any]:
        # Encoded, as the type checker cannot see that the text is made of constants.
        return self.connection.execute(_rendered(text).encode(), self._sanitized(values))

    def many(self, text: str, width: int, values: Sequence[Any]) -> None:
        # Not by `executemany`, which sends row after row without waiting for answers: a process
        # stopped between two rows is not idle to the server, and may keep its locks for ever.
        row, start, remaining = f"({', '.join('?' * width)})", 0, len(values) // width
        for size in SIZES:
            while remaining >= size:
                rows = values[start : start + size * width]
                self._execute(text.replace("EACH", ", ".join([row] * size)), rows)
                remaining, start = remaining - size, start + size * width

    def _sanitized(self, values: Sequence[Any]) -> Sequence[Any]:
        return sanitized(values) if self.sanitize else values

    def use_snapshot(self) -> None:
        self.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")

    def now(self) -> int:
        # The clock of the server: those of many machines differ.
        return int(
            self.all("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")[0][0]
        )

    def glob(self, column: str, pattern: str) -> tuple[str, str]:
        # Python's translation, without its beginning and its end.
        body = translate(pattern)[len("(?s:") : -len(")\\Z")].replace("(?>", "(?:")
        return f"{column} ~ ?", f"^(?:{body})$"

    def version(self) -> int:
        # Not `to_regclass`: its answer may be cached from before the lock was taken.
        text = "SELECT 1 FROM pg_class WHERE relname = '@meta' AND pg_table_is_visible(oid)"
        if not self.all(text):
            return 0

        return int(self.all("SELECT value FROM @meta WHERE name = 'schema'")[0][0])


class PostgresJournal(SqlJournal):
    """A journal in a PostgreSQL database, whose tables are created on first use.

    They are called `eventflow_...` and are in the first schema of the connection's search path.
    """

    codec = Codec(lambda value: value)
    # Transactions are not committed in the order of their places, and an open one may still have
    # earlier places: an event is visible when no transaction as old as its own is open.
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
        self._failure: JournalError | None = None  # of a process in a hurry: it tries no more
        self._inherited: list[Any] = []
        forks.watch(self)

    # -- the connection -----------------------------------------------------------------------

    def _open(self) -> Connection:
        if self._connection is None or self._connection.closed:
            connection = self._connect()
            try:
                connection.answer_timeout = self._answer_timeout
                idle = f"SET SESSION idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'"
                connection.execute(idle.encode())
                connection.commit()
                self._migrate(_Session(connection))
            except BaseException:
                connection.close()
                raise
            self._connection = connection

        return self._connection

    def _connect(self) -> Connection:
        hurry = {"connect_timeout": LAST_SECONDS} if self.in_hurry else {}
        connection = Connection.connect(
            make_conninfo("", **CONNECTION | conninfo_to_dict(self.url) | hurry)
        )
        try:
            if self.durability == "off":
                connection.execute("SET SESSION synchronous_commit = off")
            connection.commit()
        except BaseException:
            connection.close()
            raise

        return connection

    def _migrate(self, session: _Session) -> None:
        with session.connection.transaction():
            if session.version() == VERSION:
                return
            session.run("SELECT pg_advisory_xact_lock(?)", (MIGRATION_LOCK,))
            version = session.version()
            migrate(session, version, self._masked_url())

    def _masked_url(self) -> str:
        return CREDENTIALS.sub(MASK, self.url)

    def close(self) -> None:
        """Close the connection; the next use opens another one."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                with suppress(psycopg.Error):
                    connection.close()

    def before_fork(self) -> None:
        """Wait until no thread writes."""
        self._lock.acquire()

    def after_fork(self, *, child: bool) -> None:
        """Go on; a child opens a connection of its own."""
        if child and self._connection is not None:
            # Not closed: that would end the session of the parent.
            self._inherited.append(self._connection)
            self._connection = None
        self._lock.release()

    # -- transactions ------------------------------------------------------------------------------

    def transact(self, work: Callable[[Session], T]) -> T:
        """Call `work` in a transaction of its own."""
        if self.in_transaction():
            raise JournalError("This thread is within a transaction of a hook's own; commit later.")
        try:
            return self._use(work, sanitize=False)
        except UnstorableError as error:
            if not isinstance(error.__cause__, psycopg.DataError | UnicodeEncodeError):
                raise
            return self._use(work, sanitize=True)

    def read(self, work: Callable[[Session], T]) -> T:
        """Call `work`, which only reads."""
        return self._use(work, sanitize=False)

    def _use(self, work: Callable[[Session], T], *, sanitize: bool) -> T:
        with self._lock:
            if self.in_hurry and self._failure is not None:
                raise self._failure
            try:
                return self._use_twice(work, sanitize=sanitize)
            except JournalError as error:
                self._failure = error if self.in_hurry else None
                raise

    def _use_twice(self, work: Callable[[Session], T], *, sanitize: bool) -> T:
        # Only the use of a connection shows that its server was restarted.
        reused = self._connection is not None
        try:
            return self._attempt(work, sanitize=sanitize)
        except _DISCONNECTED as error:
            self.close()
            if not reused or isinstance(error, NoAnswer):
                raise JournalError(self._failure_message(error)) from error
        try:
            return self._attempt(work, sanitize=sanitize)
        except _DISCONNECTED as error:
            self.close()
            raise JournalError(self._failure_message(error)) from error

    def _attempt(self, work: Callable[[Session], T], *, sanitize: bool) -> T:
        try:
            connection = self._open()
            with connection.transaction():
                return work(_Session(connection, sanitize=sanitize))
        except _DISCONNECTED:
            raise
        except _UNSTORABLE as error:
            raise UnstorableError(
                f"A row cannot be stored in the journal {self._masked_url()}: {error!r}."
            ) from error
        except psycopg.Error as error:
            # The tables may have been dropped, for example: the next use creates them.
            self.close()
            raise JournalError(self._failure_message(error)) from error

    def _failure_message(self, error: Exception) -> str:
        return f"The journal {self._masked_url()} cannot be used: {str(error).strip().rstrip('.')}."

    def _answer_timeout(self) -> float | None:
        """Return how long this thread waits for an answer; None stands for no limit."""
        if self.in_hurry:
            return LAST_SECONDS

        return None if getattr(self._local, "without_timeout", False) else ANSWER_SECONDS

    @contextmanager
    def _without_timeout(self) -> Iterator[None]:
        """Wait without a limit in the block, for work that may take minutes in a large journal."""
        self._local.without_timeout = True
        try:
            yield
        finally:
            self._local.without_timeout = False

    def _commit(self, rows: Rows, fence: Fence | None) -> None:
        def work(session: Session) -> None:
            statements.write(session, rows, fence)
            write_hook_sets(session, rows)
            if rows.events:
                session.run(f"NOTIFY {CHANNEL}")

        self.transact(work)

    @contextmanager
    def _hook_transaction(self, settlement: Settlement, fence: Fence | None) -> Iterator[Any]:
        self.read(lambda session: statements.check(session, fence))
        try:
            connection = self._connect()
        except psycopg.Error as error:
            raise JournalError(self._failure_message(error)) from error
        try:
            # psycopg refuses a commit or rollback by the hook within this block.
            with connection.transaction():
                yield connection
                statements.settle(_Session(connection), settlement, fence)
        finally:
            connection.close()

    # -- reading and maintenance -----------------------------------------------------------

    def cursor(self, before: datetime | None = None) -> Cursor:
        """Return the cursor after the last event, or before the first one since a moment."""
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
        """Wait up to `timeout` seconds for an event after the cursor; False if none came."""
        deadline = time.monotonic() + timeout
        try:
            with self._connect() as connection:
                connection.autocommit = True
                connection.execute(f"LISTEN {CHANNEL}")
                while not self.events_after(cursor, 1)[0]:
                    remaining = deadline - time.monotonic()
                    if remaining <= 0:
                        return False
                    # Bounded: there is no notification when an older transaction has ended, which
                    # makes events visible.
                    for _ in connection.notifies(timeout=min(remaining, 0.5), stop_after=1):
                        pass
        except psycopg.Error as error:
            raise JournalError(self._failure_message(error)) from error

        return True

    def size(self) -> int:
        """Return how many bytes the rows take: files do not shrink when rows are deleted."""
        tables = ("@runs", "@events", "@deliveries", "@owners", "@hook_sets")
        each = "(SELECT coalesce(sum(pg_column_size(t.*)), 0) FROM {} t)".format
        text = f"SELECT {' + '.join(map(each, tables))}"
        return int(self.read(lambda session: session.all(text))[0][0])

    def prune(self, *, older_than: datetime | None = None, max_bytes: int | None = None) -> Pruned:
        """Delete runs that ended before a moment, and then the oldest until the size fits."""
        with self._without_timeout():
            return super().prune(older_than=older_than, max_bytes=max_bytes)

    def verify(self) -> list[Finding]:
        """Return all faults; the list of a clean journal is empty."""
        with self._without_timeout():
            return super().verify()

    def statistics(self) -> Statistics:
        """Count the rows of every kind."""
        with self._without_timeout():
            return super().statistics()
