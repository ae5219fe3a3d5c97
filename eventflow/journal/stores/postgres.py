"""The journal in PostgreSQL (13 or newer), shared by many machines."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, Final, TypeVar

from eventflow.errors import JournalError, MissingExtraError
from eventflow.journal.claims import Claim
from eventflow.journal.contract import (
    Cursor,
    Fence,
    Group,
    StaleOwnerError,
    UnstorableError,
)
from eventflow.journal.records import FIELDS, Settled, scan
from eventflow.journal.rows import micros
from eventflow.journal.stores import statements
from eventflow.journal.stores.database import SqlJournal
from eventflow.journal.stores.feed import READ
from eventflow.journal.stores.maintenance import EVER, migrate
from eventflow.journal.stores.schema import OLD, VERSION
from eventflow.journal.stores.statements import Session
from eventflow.journal.stores.writing import MARK_OF_WORKERS, put_runs
from eventflow.primitives.loggers import get_logger
from eventflow.settings import CREDENTIALS, MASK, Durability

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    from eventflow.journal.stores.postgres_session import (
        DIALECT,
        Connection,
        NoAnswer,
        PostgresSession,
    )
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


_UNSTORABLE: Final = (
    *(psycopg.IntegrityError, psycopg.DataError),
    *(TypeError, ValueError, AttributeError, OverflowError),
)
_DISCONNECTED: Final = (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout)


def opened(url: str, durability: Durability) -> PostgresJournal:
    """Make the journal of a URL `postgresql://...`."""
    return PostgresJournal(url, durability)


# All at once, and nothing if a run has two records in the group: one statement cannot write both.
COMMIT: Final = (
    "WITH known AS (SELECT number FROM @owners WHERE id = :owner AND token = :token"
    " AND ended IS NULL FOR SHARE), put AS ({} RETURNING 1),"
    " fed AS (INSERT INTO @feed (at, owner, data)"
    " SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, number, :data FROM known"
    " WHERE EXISTS (SELECT 1 FROM put))"
    " SELECT (SELECT count(*) FROM known), (SELECT count(*) FROM put), pg_notify(:channel, '')"
).format(
    put_runs(
        DIALECT,
        "EXISTS (SELECT 1 FROM known) AND NOT EXISTS (SELECT 1 FROM found WHERE turn > 1)",
    )
)


class PostgresJournal(SqlJournal):
    """A journal in a PostgreSQL database, whose tables are created on first use.

    They are called `eventflow_...` and are in the first schema of the connection's search path.
    """

    PUT_RUNS: ClassVar = put_runs(DIALECT, "turn = :turn")
    # Transactions are not committed in the order of their places, and an open one may still have
    # earlier places: a group is visible when no transaction as old as its own is open.
    AFTER: ClassVar = (
        "SELECT epoch, place, data FROM @feed WHERE (epoch, place) >= (?, ?)"
        " AND epoch < pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
        " ORDER BY epoch, place LIMIT ?"
    )

    def __init__(self, url: str, durability: Durability = "process") -> None:
        super().__init__(durability)
        self.url = url
        self._connection: Connection | None = None
        self._failure: JournalError | None = None  # of a process in a hurry: it tries no more

    # -- the connection -----------------------------------------------------------------------

    def _open(self) -> Connection:
        if self._connection is None or self._connection.closed:
            connection = self._connect()
            try:
                connection.answer_timeout = self._answer_timeout
                idle = f"SET SESSION idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'"
                connection.execute(idle.encode())
                self._migrate(PostgresSession(connection, self._lists))
            except BaseException:
                connection.close()
                raise
            self._connection = connection

        return self._connection

    def _connect(self) -> Connection:
        hurry = {"connect_timeout": LAST_SECONDS} if self.in_hurry else {}
        connection = Connection.connect(
            make_conninfo("", **CONNECTION | conninfo_to_dict(self.url) | hurry), autocommit=True
        )
        try:
            if self.durability == "off":
                connection.execute("SET SESSION synchronous_commit = off")
        except BaseException:
            connection.close()
            raise

        return connection

    def _migrate(self, session: PostgresSession) -> None:
        with session.connection.transaction():
            if session.version() == VERSION and not session.has(OLD):
                return
            session.run("SELECT pg_advisory_xact_lock(?)", (MIGRATION_LOCK,))
            if session.has(OLD):
                self._set_aside(session)
            migrate(session, session.version(), self._masked_url())
            # It is deleted soon: to compress it is not worth the time.
            session.run("ALTER TABLE @feed ALTER COLUMN data SET STORAGE EXTERNAL")

    def _set_aside(self, session: PostgresSession) -> None:
        """Rename the tables of an older version, and what belongs to them."""
        prefix = f"old_{datetime.now(UTC):%Y%m%dT%H%M%S}_"
        for name in session.names():
            session.run(f"ALTER TABLE {name} RENAME TO {prefix}{name}")
        get_logger("journal").warning(
            f"The journal {self._masked_url()} was made by an older version. Its tables were "
            f"renamed to {prefix}…, and new ones were made; what the old ones hold is not in these."
        )

    def _masked_url(self) -> str:
        return CREDENTIALS.sub(MASK, self.url)

    def close(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                with suppress(psycopg.Error):
                    connection.close()

    def _leave_to_parent(self) -> None:
        if self._connection is not None:
            # Not closed: that would end the session of the parent.
            self._inherited.append(self._connection)
            self._connection = None

    # -- transactions ------------------------------------------------------------------------------

    def transact(self, work: Callable[[Session], T]) -> T:
        if self.in_transaction():
            raise JournalError("This thread is within a transaction of a hook's own; commit later.")
        try:
            return self._use(work)
        except UnstorableError as error:
            if not isinstance(error.__cause__, psycopg.DataError | UnicodeEncodeError):
                raise
            return self._use(work, sanitize=True)

    def read(self, work: Callable[[Session], T]) -> T:
        return self._use(work)

    def _use(
        self, work: Callable[[PostgresSession], T], *, sanitize: bool = False, alone: bool = False
    ) -> T:
        """Call `work` in a transaction, or, if it is one statement `alone`, without."""
        with self._lock:
            if self.in_hurry and self._failure is not None:
                raise self._failure
            try:
                return self._use_twice(partial(self._attempt, work, sanitize=sanitize, alone=alone))
            except JournalError as error:
                self._failure = error if self.in_hurry else None
                raise

    def _use_twice(self, attempt: Callable[[], T]) -> T:
        # Only the use of a connection shows that its server was restarted.
        reused = self._connection is not None
        try:
            return attempt()
        except _DISCONNECTED as error:
            self.close()
            if not reused or isinstance(error, NoAnswer):
                raise JournalError(self._failure_message(error)) from error
        try:
            return attempt()
        except _DISCONNECTED as error:
            self.close()
            raise JournalError(self._failure_message(error)) from error

    def _attempt(self, work: Callable[[PostgresSession], T], *, sanitize: bool, alone: bool) -> T:
        try:
            connection = self._open()
            with nullcontext() if alone else connection.transaction():
                return work(PostgresSession(connection, self._lists, sanitize=sanitize))
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
    def _unhurried(self) -> Iterator[None]:
        self._local.without_timeout = True
        try:
            yield
        finally:
            self._local.without_timeout = False

    def _commit(self, group: Group, owner: str, fence: Fence | None) -> None:
        if self._is_plain(group) and fence is not None and not self._must_trim():
            values = {**self._values(group, owner), "token": fence.token, "channel": CHANNEL}
            try:
                ((known, changed, _),) = self._use(
                    lambda session: session.all(COMMIT, values), sanitize=False, alone=True
                )
            except UnstorableError:
                # Zeros, for example, of what was never finished.
                known, changed = 1, 0
            if not known:
                raise StaleOwnerError(fence.owner, fence.token)
            if changed:
                return
        super()._commit(Group.read(group.data), owner, fence)

    @staticmethod
    def _is_plain(group: Group) -> bool:
        """Return whether one statement writes all of a group."""
        return group.runs > 0 and not group.others and MARK_OF_WORKERS not in group.data

    def _put_runs(self, session: Session, group: Group, owner: str) -> int:
        # A turn may change nothing, where the journal has these records already, and a later one
        # all the same.
        start, width = FIELDS["run"]
        records = [each.start + start for each in scan(group.data) if each.kind == "R"]
        ids = Counter(group.data[at : at + width] for at in records)
        values = self._values(group, owner)

        return sum(
            session.run(self.PUT_RUNS, {**values, "turn": turn})
            for turn in range(1, max(ids.values(), default=0) + 1)
        )

    def _write(self, session: Session, group: Group, owner: str, fence: Fence | None) -> None:
        super()._write(session, group, owner, fence)
        session.run(f"NOTIFY {CHANNEL}")

    @contextmanager
    def _hook_transaction(self, settled: Settled, fence: Fence | Claim | None) -> Iterator[Any]:
        self.read(lambda session: statements.check(session, fence))
        try:
            connection = self._connect()
        except psycopg.Error as error:
            raise JournalError(self._failure_message(error)) from error
        try:
            # psycopg refuses a commit or rollback by the hook within this block.
            with connection.transaction():
                yield connection
                self._settle(PostgresSession(connection, self._lists), settled, fence)
        finally:
            connection.close()

    # -- reading and maintenance -----------------------------------------------------------

    def cursor(self, before: datetime | None = None) -> Cursor:
        text = (
            "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1,"
            " (SELECT epoch FROM @feed WHERE at >= ? ORDER BY epoch, place LIMIT 1)"
        )
        since = EVER if before is None else micros(before)
        ((last, first),) = self.read(lambda session: session.all(text, (since,)))

        return (last, READ, READ) if first is None else (min(last, first - 1), READ, READ)

    def wait(self, cursor: Cursor, timeout: float) -> bool:
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
        tables = (
            *("@runs", "@parts", "@deliveries", "@owners"),
            *("@definitions", "@hook_sets", "@hook_lists", "@logs", "@logged"),
        )
        each = "(SELECT coalesce(sum(pg_column_size(t.*)), 0) FROM {} t)".format
        text = f"SELECT {' + '.join(map(each, tables))}"
        return int(self.read(lambda session: session.all(text))[0][0])
