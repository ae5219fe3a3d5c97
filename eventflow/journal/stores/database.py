"""A journal in an SQL database, but for how the database is reached."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from threading import local
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from eventflow.errors import JournalError
from eventflow.journal.contract import (
    Batch,
    Cursor,
    DeliveryQuery,
    Fence,
    Finding,
    Pruned,
    RunQuery,
    Statistics,
    UnstorableError,
)
from eventflow.journal.format import Rows, decode, plain
from eventflow.journal.rows import Codec, DeliveryRow, EventRow, OwnerRow, RunRow, Settlement
from eventflow.journal.stores import checking, maintenance, statements
from eventflow.journal.stores.schema import VERSION, check_version, statements_after
from eventflow.journal.stores.statements import EVENT_COLUMNS, Session
from eventflow.primitives.loggers import get_logger
from eventflow.settings import Durability

__all__ = ["SqlJournal", "migrate"]

T = TypeVar("T")


class SqlJournal(ABC):
    """See `Journal` for the methods."""

    codec: Codec
    AFTER: ClassVar[str]
    """Selects events after a cursor: the two parts of each one's cursor, then its columns."""

    def __init__(self, durability: Durability) -> None:
        self.durability = durability
        self._here = local()

    @abstractmethod
    def transact(self, work: Callable[[Session], T]) -> T:
        """Do the work in a transaction of its own."""

    @abstractmethod
    def read(self, work: Callable[[Session], T]) -> T:
        """Do work that changes nothing."""

    @abstractmethod
    def _own_transaction(
        self, settlement: Settlement, fence: Fence | None
    ) -> AbstractContextManager[Any]:
        """Give a connection of its own, in a transaction that ends with the settlement."""

    @abstractmethod
    def size(self) -> int:
        """Give how many bytes are in use."""

    @abstractmethod
    def cursor(self, before: datetime | None = None) -> Cursor:
        """Give the cursor of the end, or one with every event since a moment still to come."""

    @abstractmethod
    def wait(self, cursor: Cursor, timeout: float) -> bool:
        """Wait at most `timeout` seconds for an event after the cursor; says whether one came."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections; the next use opens them again."""

    # -- writing ----------------------------------------------------------------------------

    def commit(self, batch: Batch) -> None:
        """Write a batch, whole or not at all."""
        try:
            rows = plain(batch)
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UnstorableError(f"This is no row of a journal: {error!r}.") from error
        self._commit(rows, batch.fence)

    def commit_lines(self, lines: Sequence[bytes], fence: Fence | None = None) -> None:
        """Write the rows of lines, whole or not at all; lines that are none are left out."""
        # Read before the transaction: others wait for that one.
        rows = decode(lines)
        self._commit(rows, fence)
        if rows.bad:
            get_logger("journal").error(
                f"{len(rows.bad)} of {len(lines)} lines for the journal could not be read and were "
                f"left out. The first one begins: {rows.bad[0][:200]!r}."
            )

    def _commit(self, rows: Rows, fence: Fence | None) -> None:
        self.transact(lambda session: statements.write(session, rows, fence))

    @contextmanager
    def transaction(self, settlement: Settlement, fence: Fence | None = None) -> Iterator[Any]:
        """Give a connection whose transaction is committed together with the settlement."""
        if self.engaged():
            raise JournalError("This thread is within a transaction of a hook's own already.")
        with self._own_transaction(settlement, fence) as connection:
            self._here.engaged = True
            try:
                yield connection
            finally:
                self._here.engaged = False

    def engaged(self) -> bool:
        """Whether this thread is within a `transaction` and therefore cannot commit."""
        return getattr(self._here, "engaged", False)

    # -- reading ----------------------------------------------------------------------------

    def run(self, run_id: UUID) -> RunRow | None:
        """Give one run."""
        key = (run_id.hex,)
        found = self.read(lambda session: session.all("SELECT * FROM @runs WHERE id = ?", key))

        return self.codec.run_in(found[0]) if found else None

    def runs(self, query: RunQuery) -> list[RunRow]:
        """Give the runs that are asked for, newest first."""
        return self.read(lambda session: statements.select_runs(session, self.codec, query))

    def events(self, run_id: UUID) -> list[EventRow]:
        """Give the events of a run, in order."""
        text = f"SELECT {EVENT_COLUMNS} FROM @events WHERE run_id = ? ORDER BY sequence"  # noqa: S608 - fixed text
        key = (run_id.hex,)

        return [self.codec.event_in(row) for row in self.read(lambda one: one.all(text, key))]

    def events_after(self, cursor: Cursor, limit: int) -> tuple[list[EventRow], Cursor]:
        """Give events of all runs and the cursor to go on from; none is ever left out."""
        rows = self.read(lambda session: session.all(self.AFTER, (*cursor, limit)))
        onward = (int(rows[-1][0]), int(rows[-1][1])) if rows else cursor

        return [self.codec.event_in(row[2:]) for row in rows], onward

    def deliveries(self, query: DeliveryQuery) -> list[DeliveryRow]:
        """Give the deliveries that are asked for, in the order in which they are owed."""
        return self.read(lambda session: statements.select_deliveries(session, self.codec, query))

    # -- owners -----------------------------------------------------------------------------

    def register(self, owner: OwnerRow, lease_seconds: float | None = None) -> Fence:
        """Enter an owner, or enter it anew with a higher token."""
        token = self.transact(lambda one: statements.put_owner(one, owner, None, lease_seconds))
        self._remember(owner, token)

        return Fence(owner.id, token)

    def _remember(self, owner: OwnerRow, token: int) -> None:  # noqa: B027 - not for all
        """Take note of an owner of this process, where the database itself may get lost."""

    def renew(self, fence: Fence, lease_seconds: float) -> bool:
        """Prolong a lease; gives False if the owner was given up for dead meanwhile."""
        text = "UPDATE @owners SET lease_until = ? WHERE id = ? AND token = ? AND ended IS NULL"

        def work(session: Session) -> int:
            until = session.now() + int(lease_seconds * 1e6)
            return session.run(text, (until, fence.owner, fence.token))

        return self.transact(work) == 1

    def end(self, owner: str, reason: str, *, only_lapsed: bool = False) -> bool:
        """Mark an owner as ended, by itself or by who found it dead: it can write no more."""
        return self.transact(
            lambda session: statements.end_owner(session, owner, reason, only_lapsed=only_lapsed)
        )

    def owners(self, *, alive: bool = False, lapsed: bool = False) -> list[OwnerRow]:
        """Give all owners, those not marked as ended, or of those the ones whose lease ran out."""

        def work(session: Session) -> list[tuple[Any, ...]]:
            where = " WHERE ended IS NULL" if alive or lapsed else ""
            where += f" AND lease_until < {session.now()}" if lapsed else ""
            return session.all(f"SELECT * FROM @owners{where} ORDER BY token")  # noqa: S608 - a number

        return [self.codec.owner_in(row) for row in self.read(work)]

    def claim(self, fence: Fence, limit: int = 1000, owner: str | None = None) -> list[RunRow]:
        """Become the keeper of what has none alive: runs without end, runs with hooks owed."""
        return self.transact(
            lambda session: statements.claim(session, self.codec, fence, limit, owner)
        )

    # -- requests ---------------------------------------------------------------------------

    def ask_cancel(self, run_id: UUID) -> bool:
        """Ask for a run's cancellation; gives False if there is no such run without end."""
        return self.transact(lambda session: statements.ask_cancel(session, run_id))

    def cancels(self, owner: str) -> list[UUID]:
        """Give the runs without end that an owner executes and is asked to cancel."""
        found = self.read(lambda session: session.all(statements.ASKED, (owner,)))

        return [self.codec.load_id(run_id) for (run_id,) in found]

    # -- tending ----------------------------------------------------------------------------

    def redrive(self, delivery_ids: Iterable[UUID]) -> int:
        """Make dead deliveries pending again, with all their attempts; gives how many."""
        wanted = list(delivery_ids)

        return self.transact(lambda session: statements.redrive(session, wanted))

    def prune(self, *, older_than: datetime | None = None, max_bytes: int | None = None) -> Pruned:
        """Delete runs that ended before a moment, and then the oldest until the size fits."""
        done = maintenance.prune(self, older_than, max_bytes)
        self._shrink()

        return done

    def prune_if_due(
        self, *, older_than: datetime | None = None, max_bytes: int | None = None, every: timedelta
    ) -> Pruned | None:
        """Prune, unless some process did so within a while; gives None then."""
        due = self.read(lambda session: maintenance.is_due(session, every))
        # Two may find it due at once: one takes the turn.
        if not due or not self.transact(lambda session: maintenance.take_turn(session, every)):
            return None

        return self.prune(older_than=older_than, max_bytes=max_bytes)

    def _shrink(self) -> None:  # noqa: B027 - not for all
        """Give back to the system what was freed, where the database does not by itself."""

    def verify(self) -> list[Finding]:
        """Look for what must not be; an empty list is a clean journal."""
        return self.read(lambda session: checking.findings(session, self.codec))

    def statistics(self) -> Statistics:
        """Give how much there is of what."""
        size = self.size()

        return self.read(lambda session: maintenance.statistics(session, size))


def migrate(session: Session, found: int, where: str) -> None:
    """Bring the tables up to date, within a transaction.

    Raises:
        JournalError: a newer eventflow made them.
    """
    check_version(found, where)
    if found == VERSION:
        return
    for statement in statements_after(found):
        session.run(statement)
    if found:
        session.run("UPDATE @meta SET value = ? WHERE name = 'schema'", (VERSION,))
        return
    born = (datetime.now(UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    values = ("schema", VERSION, "born", int(born * 1e6), "token", 0, "pruned", session.now())
    session.run("INSERT INTO @meta VALUES (?, ?), (?, ?), (?, ?), (?, ?)", values)
