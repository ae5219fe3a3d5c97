"""The journal in one SQLite file, which many processes share, and which may be lost or damaged."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

from eventflow.errors import JournalError
from eventflow.journal.claims import Claim
from eventflow.journal.contract import Cursor, Fence, Group, UnstorableError
from eventflow.journal.records import Settled
from eventflow.journal.rows import OwnerRow, micros
from eventflow.journal.stores import statements
from eventflow.journal.stores.database import SqlJournal
from eventflow.journal.stores.feed import READ
from eventflow.journal.stores.maintenance import EVER, migrate
from eventflow.journal.stores.schema import VERSION
from eventflow.journal.stores.sqlite_session import (
    BORN,
    DIALECT,
    OldShape,
    SqliteSession,
    code_of,
    guarded,
    is_busy,
    prepare_file,
    transaction,
)
from eventflow.journal.stores.statements import Session
from eventflow.journal.stores.writing import put_runs, write_others
from eventflow.journal.wal import files
from eventflow.settings import Durability

__all__ = ["SqliteJournal", "opened"]

T = TypeVar("T")

SYNCHRONOUS: Final[dict[str, str]] = {"process": "NORMAL", "power": "FULL", "off": "NORMAL"}
"""The `synchronous` of SQLite. Not OFF: a loss of power could then corrupt the file."""

BUSY_SECONDS: Final = 0.5
"""How long one attempt waits for the lock of the file."""

LAST_BUSY_SECONDS: Final = 0.2
"""How long one attempt waits once the process is in a hurry to end."""

ATTEMPTS: Final[dict[str, int]] = {"process": 120, "power": 10, "off": 120}
"""How often a writer tries: with `power` the runs wait for it. Otherwise it holds up no run, and
among many busy processes, chance decides which one gets the lock."""

LAST_ATTEMPTS: Final = 15
"""How many of these may fail while nobody commits, before each use tries once.

While others commit, the lock is not kept but handed on, and this process has its turn.
"""

READ_ATTEMPTS: Final = 10
"""How often a reader tries: it waits only while SQLite repairs the file, or its schema is old."""

PAUSE_SECONDS: Final = 0.001
"""The pause between two attempts, in which another thread of this process has its turn."""

POLL_SECONDS: Final = 0.05
"""How often `wait` checks for events of other processes."""

WAL_BYTES: Final = 32 * 2**20
"""The size to which the write-ahead log is truncated after a long read made it grow."""

VACUUM_PAGES: Final = 1000
"""How many pages are released to the system in one transaction."""

REFERRED: Final = 30_000
"""How many records of what runs refer to are kept for a new file: about what a segment can hold."""

TRIES: Final = 5
"""How often work is tried if the file is lost or damaged each time."""

_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# After these errors the connection can still be used.
_TRANSIENT: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL})
_UNSTORABLE: Final = (
    *(sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, sqlite3.InterfaceError),
    *(TypeError, ValueError, AttributeError, OverflowError),
)


def opened(url: str, durability: Durability) -> SqliteJournal:
    """Make the journal of a URL `sqlite:///<path>`."""
    return SqliteJournal(Path(url.partition("://")[2][1:]), durability)


class SqliteJournal(SqlJournal):
    """A journal in one file, which is created on first use. See `Journal` for the methods.

    `busy_timeout` is how many seconds one attempt waits for the lock.
    """

    PUT_RUNS: ClassVar = put_runs(DIALECT)
    # Another file of the same name is another epoch, of which everything is new.
    AFTER: ClassVar = (
        f"SELECT {BORN}, place, data FROM @feed"
        f" WHERE place >= CASE {BORN} WHEN ? THEN ? ELSE 0 END ORDER BY place LIMIT ?"
    )

    def __init__(
        self, path: Path, durability: Durability = "process", busy_timeout: float = BUSY_SECONDS
    ) -> None:
        super().__init__(durability)
        self.path = path
        self._busy_timeout = busy_timeout
        self._attempts = ATTEMPTS[durability]
        # How many attempts in a hurry failed since the last success.
        self._in_vain = 0
        self._last_commit: object = None
        self._session: SqliteSession | None = None
        self._identity: files.Identity | None = None
        self._hook_connections: set[sqlite3.Connection] = set()
        # The owners that this process registered, each with the creation time of its journal.
        self._registered: dict[str, tuple[OwnerRow, int, int]] = {}
        # What their runs refer to, for a new file: they need not record it again.
        self._referred: dict[str, dict[tuple[str, Any], tuple[str, Any]]] = {}
        self._born = 0

    # -- the file ---------------------------------------------------------------------------

    def _open(self) -> SqliteSession:
        if self._session is None and self._inherited:
            raise JournalError("This process was forked within a transaction of a hook's own.")
        if self._session is None:
            self._create_file()
            session = SqliteSession(self._connect(), self._lists)
            try:
                self._migrate(session)
            except BaseException:
                session.connection.close()
                raise
            self._session = session

        return self._session

    def _create_file(self) -> None:
        files.make(self.path)
        self._identity = files.identity(self.path)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False
        )
        try:
            prepare_file(connection, self._busy_timeout)
            connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
            connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS[self.durability]}")
            # On macOS a flush reaches the disk's own memory only, unless it is asked for more.
            connection.execute(f"PRAGMA fullfsync = {self.durability == 'power':d}")
        except BaseException:
            connection.close()
            raise

        return connection

    def _migrate(self, session: SqliteSession) -> None:
        if session.version() != VERSION:
            with transaction(session.connection):
                # Within the transaction, as another process may have migrated it just now.
                migrate(session, session.version(), str(self.path))
        self._born = int(session.all(f"SELECT {BORN}")[0][0])
        for owner, token, born in list(self._registered.values()):
            if born != self._born:
                self._register_again(session, owner, token)

    def _register_again(self, session: SqliteSession, owner: OwnerRow, token: int) -> None:
        # The file was lost and created again: owners that are alive keep their tokens.
        with transaction(session.connection):
            statements.put_owner(session, owner, token, None)
            write_others(session, owner.id, [*self._referred.get(owner.id, {}).values()])
        self._registered[owner.id] = (owner, token, self._born)

    def _remember(self, owner: OwnerRow, token: int) -> None:
        self._registered[owner.id] = (owner, token, self._born)

    def _write(self, session: Session, group: Group, owner: str, fence: Fence | None) -> None:
        super()._write(session, group, owner, fence)
        if group.others and owner in self._registered:
            referred = self._referred.setdefault(owner, {})
            for kind, content in group.others:
                if kind in {"D", "L", "H"}:
                    # The last one last: a segment tells again what its runs refer to.
                    referred.pop((kind, content[0]), None)
                    referred[kind, content[0]] = (kind, content)
            while len(referred) > REFERRED:
                del referred[next(iter(referred))]

    def end(self, owner: str, reason: str, *, only_lapsed: bool = False) -> bool:
        ended = super().end(owner, reason, only_lapsed=only_lapsed)
        if ended:
            self._registered.pop(owner, None)
            self._referred.pop(owner, None)

        return ended

    def close(self) -> None:
        with self._lock:
            session, self._session = self._session, None
            if session is not None:
                with suppress(sqlite3.Error):
                    session.connection.close()

    def __del__(self) -> None:
        # A journal without references closes itself. At the end of the interpreter, modules may be
        # gone already: then the kernel closes the file.
        try:  # noqa: SIM105
            self.close()
        except Exception:  # noqa: BLE001, S110
            pass

    def before_fork(self) -> None:
        super().before_fork()
        self.close()

    def _leave_to_parent(self) -> None:
        self._registered.clear()
        self._referred.clear()
        self._inherited += self._hook_connections

    # -- transactions ----------------------------------------------------------------------------

    def transact(self, work: Callable[[Session], T]) -> T:
        if self.in_transaction():
            raise JournalError("This thread is within a transaction of a hook's own; commit later.")

        def write(session: SqliteSession) -> T:
            with transaction(session.connection):
                return work(session)

        return self._with_attempts(write)

    def read(self, work: Callable[[Session], T]) -> T:

        def read(session: SqliteSession) -> T:
            with transaction(session.connection, "DEFERRED"):
                return work(session)

        return self._with_attempts(read, min(READ_ATTEMPTS, self._attempts))

    def _with_attempts(self, work: Callable[[SqliteSession], T], attempts: int = 0) -> T:
        for remaining in reversed(range(attempts or self._attempts)):
            try:
                result = self._attempt(work)
            except JournalError as error:
                before, self._last_commit = self._last_commit, files.last_commit(self.path)
                self._in_vain = self._in_vain + 1 if before == self._last_commit else 1
                given_up = self.in_hurry and self._in_vain >= LAST_ATTEMPTS
                if not remaining or given_up or not is_busy(error.__cause__):
                    raise
            else:
                self._in_vain = 0
                return result
            time.sleep(PAUSE_SECONDS)

        raise AssertionError("it is tried at least once")

    def _attempt(self, work: Callable[[SqliteSession], T]) -> T:
        with self._lock:
            for _ in range(TRIES):
                try:
                    session = self._open()
                    if self.in_hurry:
                        session.wait_at_most(LAST_BUSY_SECONDS)
                    result = work(session)
                except (sqlite3.Error, OSError, *_UNSTORABLE) as error:
                    self._recover_or_raise(error)
                else:
                    # Afterwards: what was written to a deleted file is lost.
                    if self._is_same_file():
                        return result
                    self.close()

            raise JournalError(f"The journal {self.path} is removed again and again; by whom?")

    def _is_same_file(self) -> bool:
        return files.identity(self.path) == self._identity

    def _recover_or_raise(self, error: Exception) -> None:
        """Return if the work can be tried again in a new file; raise a `JournalError` otherwise."""
        code = code_of(error)
        if isinstance(error, OldShape) or code in _DAMAGED:
            self.close()
            reason = None if isinstance(error, OldShape) else str(error)
            files.set_aside(self.path, self._identity, reason)
            return
        if isinstance(error, _UNSTORABLE):
            raise UnstorableError(
                f"A row cannot be stored in the journal {self.path}, or read from it: {error!r}."
            ) from error
        if code not in _TRANSIENT:
            lost = self._session is not None and not self._is_same_file()
            self.close()
            if lost:
                return
        raise JournalError(self._failure_message(error)) from error

    def _failure_message(self, error: Exception) -> str:
        if is_busy(error):
            return f"The journal {self.path} is kept locked by another process."

        return f"The journal {self.path} cannot be used: {error}."

    # -- a hook's own transaction -------------------------------------------------------------

    @contextmanager
    def _hook_transaction(self, settled: Settled, fence: Fence | Claim | None) -> Iterator[Any]:
        connection = self._begin_hook_transaction()
        self._hook_connections.add(connection)
        try:
            with guarded(connection):
                yield connection
            self._acknowledge(SqliteSession(connection, self._lists), settled, fence)
        finally:
            with suppress(sqlite3.Error):
                connection.rollback()
            self._hook_connections.discard(connection)
            connection.close()

    def _begin_hook_transaction(self) -> sqlite3.Connection:
        """Open another connection, and begin a transaction there."""

        def work(_session: SqliteSession) -> sqlite3.Connection:
            connection = self._connect()
            try:
                connection.execute("BEGIN IMMEDIATE")
            except BaseException:
                connection.close()
                raise
            return connection

        return self._with_attempts(work)

    def _acknowledge(
        self, session: SqliteSession, settled: Settled, fence: Fence | Claim | None
    ) -> None:
        if not self._is_same_file():
            raise JournalError(f"The journal {self.path} was removed; nothing was written.")
        try:
            self._settle(session, settled, fence)
            session.connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise JournalError(self._failure_message(error)) from error

    # -- reading and maintenance -----------------------------------------------------------

    def cursor(self, before: datetime | None = None) -> Cursor:
        text = f"SELECT {BORN}, max(place), min(CASE WHEN at >= ? THEN place END) FROM @feed"
        since = EVER if before is None else micros(before)
        ((born, last, first),) = self.read(lambda session: session.all(text, (since,)))

        return (born, last or 0, READ) if first is None else (born, first, 0)

    def wait(self, cursor: Cursor, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while not self.events_after(cursor, 1)[0]:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            time.sleep(min(remaining, POLL_SECONDS))

        return True

    def size(self) -> int:
        text = (
            "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count(),"
            " pragma_freelist_count(), pragma_page_size()"
        )
        feed = "SELECT coalesce(sum(length(data)), 0) FROM @feed"

        return self.read(lambda session: int(session.all(text)[0][0] - session.all(feed)[0][0]))

    def _shrink(self) -> None:
        def vacuum(session: SqliteSession) -> int:
            # As a script: of a statement without rows only the first step is executed, for a page.
            session.connection.executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
            return int(session.all("PRAGMA freelist_count")[0][0])

        # In steps, so that others can write in between.
        free, before = self._with_attempts(vacuum), -1
        while free not in {0, before}:
            free, before = self._with_attempts(vacuum), free
        self._with_attempts(lambda session: session.all("PRAGMA wal_checkpoint(TRUNCATE)"))
