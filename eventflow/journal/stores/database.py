"""The journal in an SQL database, except for the connection to it."""

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
    Cursor,
    DeliveryQuery,
    Fence,
    Finding,
    Pruned,
    RunQuery,
    Statistics,
)
from eventflow.journal.format import Rows, decode
from eventflow.journal.rows import (
    Codec,
    DeliveryRow,
    EventRow,
    OwnerRow,
    RunRow,
    Settlement,
    micros,
)
from eventflow.journal.stores import maintenance, statements
from eventflow.journal.stores.hook_sets import select_hook_sets, write_hook_sets
from eventflow.journal.stores.maintenance import CHUNK, EVER
from eventflow.journal.stores.schema import VERSION, check_version, statements_after
from eventflow.journal.stores.statements import EVENT_COLUMNS, Session
from eventflow.primitives.loggers import get_logger
from eventflow.settings import Durability

__all__ = ["SqlJournal", "migrate"]

T = TypeVar("T")


class SqlJournal(ABC):
    """The methods of `Journal` that are the same for all databases."""

    codec: Codec
    AFTER: ClassVar[str]
    """Selects the events after a cursor: the two parts of their cursors, then their columns."""

    def __init__(self, durability: Durability) -> None:
        self.durability = durability
        self.in_hurry = False
        self._local = local()

    @abstractmethod
    def transact(self, work: Callable[[Session], T]) -> T:
        """Call `work` in a transaction of its own."""

    @abstractmethod
    def read(self, work: Callable[[Session], T]) -> T:
        """Call `work`, which only reads."""

    @abstractmethod
    def _hook_transaction(
        self, settlement: Settlement, fence: Fence | None
    ) -> AbstractContextManager[Any]:
        """Return a connection in a transaction that is committed with the settlement."""

    @abstractmethod
    def size(self) -> int:
        """Return how many bytes are in use."""

    @abstractmethod
    def cursor(self, before: datetime | None = None) -> Cursor:
        """Return the cursor after the last event, or before the first one since a moment."""

    @abstractmethod
    def wait(self, cursor: Cursor, timeout: float) -> bool:
        """Wait up to `timeout` seconds for an event after the cursor; False if none came."""

    @abstractmethod
    def close(self) -> None:
        """Close files and connections; the next use opens them again."""

    # -- writing ----------------------------------------------------------------------------

    def commit_lines(self, lines: Sequence[bytes], fence: Fence | None = None) -> None:
        """Write the rows of lines, whole or not at all; lines that cannot be read are left out."""
        # Before the transaction, as others wait for its end.
        rows = decode(lines)
        self._commit(rows, fence)
        if rows.bad:
            get_logger("journal").error(
                f"{len(rows.bad)} of {len(lines)} lines for the journal could not be read and were "
                f"left out. The first one begins: {rows.bad[0][:200]!r}."
            )

    def _commit(self, rows: Rows, fence: Fence | None) -> None:
        def work(session: Session) -> None:
            statements.write(session, rows, fence)
            write_hook_sets(session, rows)

        self.transact(work)

    @contextmanager
    def transaction(self, settlement: Settlement, fence: Fence | None = None) -> Iterator[Any]:
        """Return a connection whose transaction is committed together with the settlement."""
        if self.in_transaction():
            raise JournalError("This thread is within a transaction of a hook's own already.")
        with self._hook_transaction(settlement, fence) as connection:
            self._local.in_transaction = True
            try:
                yield connection
            finally:
                self._local.in_transaction = False

    def in_transaction(self) -> bool:
        """Return whether this thread is within a `transaction` and therefore cannot commit."""
        return getattr(self._local, "in_transaction", False)

    # -- reading ----------------------------------------------------------------------------

    def run(self, run_id: UUID) -> RunRow | None:
        """Return one run."""
        key = (run_id.hex,)
        rows = self.read(lambda session: session.all(statements.RUN, key))

        return self.codec.run_in(rows[0]) if rows else None

    def runs(self, query: RunQuery) -> list[RunRow]:
        """Return the runs that match, newest first."""
        return self.read(lambda session: statements.select_runs(session, self.codec, query))

    def events(self, run_id: UUID) -> list[EventRow]:
        """Return the events of a run, in order."""
        text = f"SELECT {EVENT_COLUMNS} FROM @events WHERE run_id = ? ORDER BY sequence"  # noqa: S608 - fixed text
        key = (run_id.hex,)

        return [
            self.codec.event_in(row) for row in self.read(lambda session: session.all(text, key))
        ]

    def events_after(self, cursor: Cursor, limit: int) -> tuple[list[EventRow], Cursor]:
        """Return events of all runs, and the cursor after them; none is ever skipped."""
        rows = self.read(lambda session: session.all(self.AFTER, (*cursor, limit)))
        end = (int(rows[-1][0]), int(rows[-1][1])) if rows else cursor

        return [self.codec.event_in(row[2:]) for row in rows], end

    def deliveries(self, query: DeliveryQuery) -> list[DeliveryRow]:
        """Return the deliveries that match, ordered by run, by event and by hook."""
        return self.read(lambda session: statements.select_deliveries(session, self.codec, query))

    # -- owners -----------------------------------------------------------------------------

    def register(self, owner: OwnerRow, lease_seconds: float | None = None) -> Fence:
        """Add an owner, or raise the token of a known one."""
        token = self.transact(
            lambda session: statements.put_owner(session, owner, None, lease_seconds)
        )
        self._remember(owner, token)

        return Fence(owner.id, token)

    def _remember(self, owner: OwnerRow, token: int) -> None:  # noqa: B027 - not for all
        """Remember an owner of this process, for databases that may get lost."""

    def renew(self, fence: Fence, lease_seconds: float) -> bool:
        """Prolong a lease; return False if the owner counts as dead by now."""
        text = "UPDATE @owners SET lease_until = ? WHERE id = ? AND token = ? AND ended IS NULL"

        def work(session: Session) -> int:
            until = session.now() + int(lease_seconds * 1e6)
            return session.run(text, (until, fence.owner, fence.token))

        return self.transact(work) == 1

    def end(self, owner: str, reason: str, *, only_lapsed: bool = False) -> bool:
        """Mark an owner as ended: it cannot write any more."""
        return self.transact(
            lambda session: statements.end_owner(session, owner, reason, only_lapsed=only_lapsed)
        )

    def owners(self, *, alive: bool = False, lapsed: bool = False) -> list[OwnerRow]:
        """Return all owners, those that have not ended, or those of them whose lease ran out."""

        def work(session: Session) -> list[tuple[Any, ...]]:
            where = " WHERE ended IS NULL" if alive or lapsed else ""
            where += f" AND lease_until < {session.now()}" if lapsed else ""
            return session.all(f"SELECT * FROM @owners{where} ORDER BY token")  # noqa: S608 - a number

        return [self.codec.owner_in(row) for row in self.read(work)]

    def claim(self, fence: Fence, limit: int = 1000, owner: str | None = None) -> list[RunRow]:
        """Become the keeper of runs that have no live one, and are unfinished or owe hooks."""
        return self.transact(
            lambda session: statements.claim(session, self.codec, fence, limit, owner)
        )

    def hook_sets(self, owner: str) -> dict[str, str]:
        """Return the sets of hooks that an owner recorded, as texts by their id."""
        return self.read(lambda session: select_hook_sets(session, owner))

    # -- requests ---------------------------------------------------------------------------

    def ask_cancel(self, run_id: UUID) -> bool:
        """Request a run's cancellation; return False if there is no such unfinished run."""
        return self.transact(lambda session: statements.ask_cancel(session, run_id))

    def cancels(self, owner: str) -> list[UUID]:
        """Return the unfinished runs of an owner whose cancellation is requested."""
        rows = self.read(lambda session: session.all(statements.ASKED, (owner,)))

        return [self.codec.load_id(run_id) for (run_id,) in rows]

    # -- maintenance -----------------------------------------------------------------------

    def redrive(self, delivery_ids: Iterable[UUID]) -> int:
        """Make dead deliveries pending again, with all their attempts; return how many."""
        ids = list(delivery_ids)

        return self.transact(lambda session: statements.redrive(session, ids))

    def prune(self, *, older_than: datetime | None = None, max_bytes: int | None = None) -> Pruned:
        """Delete runs that ended before a moment, and then the oldest until the size fits."""
        deleted = [(0, 0, 0)]

        def delete(before: int, limit: int = CHUNK) -> int:
            counts = self.transact(lambda session: maintenance.delete_runs(session, before, limit))
            deleted.append(counts)
            return counts[0]

        before = 0 if older_than is None else micros(older_than)
        if older_than is not None:
            while delete(before) == CHUNK:
                pass
        while max_bytes is not None and (surplus := self._surplus(max_bytes)):
            before = EVER
            # Up to the first chunk of which no run can be deleted.
            if not all(delete(EVER, limit) for limit in maintenance.chunks(surplus)):
                break
        runs, events, deliveries = (sum(column) for column in zip(*deleted, strict=True))
        pruned = Pruned(runs, events, deliveries, owners=self._delete_owners(before))
        self._shrink()

        return pruned

    def _surplus(self, max_bytes: int) -> int:
        """Estimate from their average size how many runs have to go for the size to fit."""
        size = self.size()
        if size <= max_bytes:
            return 0
        count = int(self.read(lambda session: session.all("SELECT count(*) FROM @runs"))[0][0])

        return max(1, int(count * (1 - max_bytes / size)))

    def _delete_owners(self, before: int) -> int:
        # Searched without keeping others from writing: who has ended is not named by a new run.
        idle = self.read(lambda session: maintenance.idle_owners(session, before))
        if not idle:
            return 0

        return self.transact(
            lambda session: sum(maintenance.delete_owner(session, key) for key in idle)
        )

    def prune_if_due(
        self, *, older_than: datetime | None = None, max_bytes: int | None = None, every: timedelta
    ) -> Pruned | None:
        """Prune, unless some process did so less than `every` ago; then it returns None."""
        due = self.read(lambda session: maintenance.is_due(session, every))
        # Two processes may find it due at once: one of them prunes.
        if not due or not self.transact(lambda session: maintenance.claim_pruning(session, every)):
            return None

        return self.prune(older_than=older_than, max_bytes=max_bytes)

    def _shrink(self) -> None:  # noqa: B027 - not for all
        """Release unused space to the system, for databases that do not do so by themselves."""

    def verify(self) -> list[Finding]:
        """Return all faults; the list of a clean journal is empty."""
        return self.read(lambda session: maintenance.findings(session, self.codec))

    def statistics(self) -> Statistics:
        """Count the rows of every kind."""
        size = self.size()

        return self.read(lambda session: maintenance.statistics(session, size))


def migrate(session: Session, version: int, where: str) -> None:
    """Bring tables of an older version up to date, within a transaction.

    Raises:
        JournalError: a newer eventflow made them.
    """
    check_version(version, where)
    if version == VERSION:
        return
    for statement in statements_after(version):
        session.run(statement)
    if version:
        session.run("UPDATE @meta SET value = ? WHERE name = 'schema'", (VERSION,))
        return
    born = (datetime.now(UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    values = ("schema", VERSION, "born", int(born * 1e6), "token", 0, "pruned", session.now())
    session.run("INSERT INTO @meta VALUES (?, ?), (?, ?), (?, ?), (?, ?)", values)
