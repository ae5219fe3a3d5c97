"""The journal in one SQLite file: short transactions, many processes, mishaps of the file."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar
from uuid import UUID

from eventflow.errors import JournalError
from eventflow.journal import files
from eventflow.journal.contract import Cursor, Fence, UnstorableError
from eventflow.journal.rows import Codec, OwnerRow, Settlement, micros
from eventflow.journal.stores import statements
from eventflow.journal.stores.database import SqlJournal, migrate
from eventflow.journal.stores.schema import VERSION
from eventflow.journal.stores.sqlite_session import (
    SqliteSession,
    code_of,
    guarded,
    is_busy,
    transaction,
)
from eventflow.journal.stores.statements import EVENT_COLUMNS, Session
from eventflow.primitives import forks
from eventflow.settings import Durability

__all__ = ["SqliteJournal", "opened"]

T = TypeVar("T")

SYNCHRONOUS: Final[dict[str, str]] = {"process": "NORMAL", "power": "FULL", "off": "NORMAL"}
"""What SQLite waits for. Not OFF: a loss of power could then leave a file that is not whole."""

PATIENCE_SECONDS: Final = 5.0
"""How long a writer waits for other processes before the journal counts as unavailable."""

TURNS: Final = 12
"""How often as long is waited where no run does: among many busy processes, it is chance which one
gets its turn."""

POLL_SECONDS: Final = 0.05
"""How often `wait` looks for events of other processes."""

WAL_BYTES: Final = 32 * 2**20
"""What is left of a log that a long reader made grow."""

VACUUM_PAGES: Final = 1000
"""How many pages are given back to the system in one transaction."""

TRIES: Final = 5
"""How often work is done again because the file was lost or damaged under it."""

_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# After these the connection is as good as before.
_PASSING: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL})
_BAD_ROW: Final = (
    *(sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, sqlite3.InterfaceError),
    *(TypeError, ValueError, AttributeError, OverflowError),
)


def opened(url: str, durability: Durability) -> SqliteJournal:
    """Give the journal of a URL `sqlite:///<path>`."""
    return SqliteJournal(Path(url.partition("://")[2][1:]), durability)


class SqliteJournal(SqlJournal):
    """A journal in one file, made on first use. See `Journal` for the methods.

    `patience` is how many seconds a run waits for other processes; who else does waits longer.
    """

    codec = Codec(UUID)
    AFTER: ClassVar = (
        f"SELECT 0, place, {EVENT_COLUMNS} FROM @events WHERE ? = 0 AND place > ?"  # noqa: S608 - fixed text
        " ORDER BY place LIMIT ?"
    )

    def __init__(
        self, path: Path, durability: Durability = "process", patience: float = PATIENCE_SECONDS
    ) -> None:
        super().__init__(durability)
        self.path = path
        self._patience = patience
        # With `power` it is a run that waits.
        self._turns = 1 if durability == "power" else TURNS
        self._lock = threading.RLock()
        self._session: SqliteSession | None = None
        self._identity: files.Identity | None = None
        self._lent: set[sqlite3.Connection] = set()
        # Kept for ever: a connection must not even be closed on the other side of a fork.
        self._inherited: list[sqlite3.Connection] = []
        # Owners entered by this process, and when the file was born that they are entered in.
        self._entered: dict[str, tuple[OwnerRow, int, int]] = {}
        self._born = 0
        forks.watch(self)

    # -- the file ---------------------------------------------------------------------------

    def _open(self) -> SqliteSession:
        if self._session is None and self._inherited:
            raise JournalError("This process was forked within a transaction of a hook's own.")
        if self._session is None:
            self._prepare_file()
            session = SqliteSession(self._connect())
            try:
                self._make_ready(session)
            except BaseException:
                session.connection.close()
                raise
            self._session = session

        return self._session

    def _prepare_file(self) -> None:
        files.make(self.path)
        self._identity = files.identity(self.path)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=self._patience, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            self._turn_to_wal(connection)
            connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
            connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS[self.durability]}")
        except BaseException:
            connection.close()
            raise

        return connection

    def _turn_to_wal(self, connection: sqlite3.Connection) -> None:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                # For this, SQLite itself does not wait.
                if not is_busy(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)
            else:
                return

    def _make_ready(self, session: SqliteSession) -> None:
        if session.version() != VERSION:
            with transaction(session.connection):
                # Asked for again: another process may have been faster.
                migrate(session, session.version(), str(self.path))
        self._born = int(session.all("SELECT value FROM @meta WHERE name = 'born'")[0][0])
        for owner, token, born in list(self._entered.values()):
            if born != self._born:
                self._enter_again(session, owner, token)

    def _enter_again(self, session: SqliteSession, owner: OwnerRow, token: int) -> None:
        # The file was lost and begun anew; whoever lives on lives on in the new one.
        with transaction(session.connection):
            statements.put_owner(session, owner, token, None)
        self._entered[owner.id] = (owner, token, self._born)

    def _remember(self, owner: OwnerRow, token: int) -> None:
        self._entered[owner.id] = (owner, token, self._born)

    def end(self, owner: str, reason: str, *, only_lapsed: bool = False) -> bool:
        """Mark an owner as ended, by itself or by who found it dead: it can write no more."""
        ended = super().end(owner, reason, only_lapsed=only_lapsed)
        if ended:
            self._entered.pop(owner, None)

        return ended

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        with self._lock:
            session, self._session = self._session, None
            if session is not None:
                with suppress(sqlite3.Error):
                    session.connection.close()

    def __del__(self) -> None:
        # A journal that nobody has any more needs no closing by hand. At the end of the interpreter
        # what this leans on may be gone already: then the kernel closes the file.
        try:  # noqa: SIM105
            self.close()
        except Exception:  # noqa: BLE001, S110
            pass

    def before_fork(self) -> None:
        """Close the file: its locks and SQLite's own state must not reach a child."""
        self._lock.acquire()
        self.close()

    def after_fork(self, *, child: bool) -> None:
        """Go on; the file is opened again when it is needed."""
        if child:
            self._entered.clear()
            self._inherited += self._lent
        self._lock.release()

    # -- working ----------------------------------------------------------------------------

    def transact(self, work: Callable[[Session], T]) -> T:
        """Do the work in a transaction of its own."""
        if self.engaged():
            raise JournalError("This thread is within a transaction of a hook's own; commit later.")

        def write(session: SqliteSession) -> T:
            with transaction(session.connection):
                return work(session)

        return self._use(write)

    def read(self, work: Callable[[Session], T]) -> T:
        """Do work that changes nothing."""

        def read(session: SqliteSession) -> T:
            with transaction(session.connection, "DEFERRED"):
                return work(session)

        return self._use(read)

    def _use(self, work: Callable[[SqliteSession], T]) -> T:
        for left in reversed(range(self._turns)):
            try:
                return self._try(work)
            except JournalError as error:
                # In between, the lock is free for a thread that wants to fork.
                if not left or not is_busy(error.__cause__):
                    raise

        raise AssertionError("it is tried at least once")

    def _try(self, work: Callable[[SqliteSession], T]) -> T:
        with self._lock:
            for _ in range(TRIES):
                try:
                    result = work(self._open())
                except (sqlite3.Error, OSError, *_BAD_ROW) as error:
                    self._mend_or_raise(error)
                else:
                    # Asked afterwards: what was written into a file without a name is lost.
                    if self._in_place():
                        return result
                    self.close()

            raise JournalError(f"The journal {self.path} is removed again and again; by whom?")

    def _in_place(self) -> bool:
        return files.identity(self.path) == self._identity

    def _mend_or_raise(self, error: Exception) -> None:
        """Come back only if the work can be done again, in another file."""
        code = code_of(error)
        if code in _DAMAGED:
            self.close()
            files.set_aside(self.path, self._identity, str(error))
            return
        if isinstance(error, _BAD_ROW):
            raise UnstorableError(
                f"A row cannot be stored in the journal {self.path}, or read from it: {error!r}."
            ) from error
        if code not in _PASSING:
            lost = self._session is not None and not self._in_place()
            self.close()
            if lost:
                return
        raise JournalError(self._explained(error)) from error

    def _explained(self, error: Exception) -> str:
        if is_busy(error):
            seconds = self._patience * self._turns
            return f"The journal {self.path} was kept by others for {seconds:g} s."

        return f"The journal {self.path} cannot be used: {error}."

    # -- a hook's own transaction -------------------------------------------------------------

    @contextmanager
    def _own_transaction(self, settlement: Settlement, fence: Fence | None) -> Iterator[Any]:
        connection = self._lend()
        self._lent.add(connection)
        try:
            with guarded(connection):
                yield connection
            self._acknowledge(SqliteSession(connection), settlement, fence)
        finally:
            with suppress(sqlite3.Error):
                connection.rollback()
            self._lent.discard(connection)
            connection.close()

    def _lend(self) -> sqlite3.Connection:
        """Give a connection of its own, within a transaction."""

        def work(_session: SqliteSession) -> sqlite3.Connection:
            connection = self._connect()
            try:
                connection.execute("BEGIN IMMEDIATE")
            except BaseException:
                connection.close()
                raise
            return connection

        return self._use(work)

    def _acknowledge(
        self, session: SqliteSession, settlement: Settlement, fence: Fence | None
    ) -> None:
        if not self._in_place():
            raise JournalError(f"The journal {self.path} was removed; nothing was written.")
        try:
            statements.settle(session, settlement, fence)
            session.connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise JournalError(self._explained(error)) from error

    # -- reading and tending ------------------------------------------------------------------

    def cursor(self, before: datetime | None = None) -> Cursor:
        """Give the cursor of the end, or one with every event since a moment still to come."""
        last = "SELECT coalesce(max(place), 0) FROM @events"
        if before is None:
            return 0, int(self.read(lambda session: session.all(last))[0][0])
        text = f"SELECT coalesce(min(place) - 1, ({last})) FROM @events WHERE occurred >= ?"  # noqa: S608 - fixed text

        return 0, int(self.read(lambda session: session.all(text, (micros(before),)))[0][0])

    def wait(self, cursor: Cursor, timeout: float) -> bool:
        """Wait at most `timeout` seconds for an event after the cursor; says whether one came."""
        deadline = time.monotonic() + timeout
        while self.cursor() <= cursor:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(left, POLL_SECONDS))

        return True

    def size(self) -> int:
        """Give how many bytes are in use."""
        text = (
            "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count(),"
            " pragma_freelist_count(), pragma_page_size()"
        )

        return int(self.read(lambda session: session.all(text))[0][0])

    def _shrink(self) -> None:
        def some(session: SqliteSession) -> int:
            session.all(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
            return int(session.all("PRAGMA freelist_count")[0][0])

        # In steps: others must have their turn.
        left, before = self._use(some), -1
        while left not in {0, before}:
            left, before = self._use(some), left
        self._use(lambda session: session.all("PRAGMA wal_checkpoint(TRUNCATE)"))
