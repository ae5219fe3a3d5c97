"""The journal in an SQL database, except for the connection to it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timedelta
from threading import RLock, local
from typing import Any, ClassVar, Final, TypeVar
from uuid import UUID

from eventflow.errors import JournalError
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.claims import Claim
from eventflow.journal.contract import (
    Cursor,
    DeliveryQuery,
    Fence,
    Group,
    Journal,
    RunQuery,
    StaleOwnerError,
)
from eventflow.journal.history import Transition, event_rows, run_row, transitions_of
from eventflow.journal.records import Settled
from eventflow.journal.rows import (
    DeliveryRow,
    EventRow,
    FailedDeliveries,
    Finding,
    LogRow,
    OwnerRow,
    OwnEvent,
    Pruned,
    RunRow,
    Statistics,
    StoredRun,
    TalliedRuns,
    micros,
    owner_in,
)
from eventflow.journal.stores import feed, maintenance, statements
from eventflow.journal.stores.maintenance import CHUNK, CLOCKS_MS, EVER, Deleted
from eventflow.journal.stores.queries.claims import SqlClaims, end_claim
from eventflow.journal.stores.queries.deliveries import (
    failed_by_hook,
    select_deliveries,
    status_of,
)
from eventflow.journal.stores.queries.lines import logged_in, select_lines
from eventflow.journal.stores.queries.runs import (
    select_runs,
    select_tree,
    stored_run,
    tally_runs,
    tally_tree,
)
from eventflow.journal.stores.statements import ASKED, OWNER, Session, check
from eventflow.journal.stores.writing import (
    number_of,
    put_for_workers,
    put_settled,
    trim_lines,
    write_others,
)
from eventflow.primitives import forks
from eventflow.primitives.ids import delivery_id, id_of
from eventflow.settings import EVENTFLOW_KEPT_LOG_BYTES, Durability
from eventflow.states import StateType

__all__ = ["SqlJournal"]

T = TypeVar("T")

TRIM_SECONDS: Final = 60.0
"""How often what is kept no longer is deleted from the feed."""

TRIM_BYTES: Final = 8 * 2**20
"""After how many bytes this is done sooner."""


class SqlJournal(SqlClaims, Journal, ABC):
    """The methods of `Journal` that are the same for all databases."""

    PUT_RUNS: ClassVar[str]
    """Writes the runs of a group, see `writing.put_runs`."""
    AFTER: ClassVar[str]
    """Selects epoch, place and data of groups from a cursor on."""

    def __init__(self, durability: Durability) -> None:
        self.durability = durability
        self._log_bytes = EVENTFLOW_KEPT_LOG_BYTES.value()
        self.in_hurry = False
        self._lock = RLock()
        self._local = local()
        # Kept for ever: a child must not even close the connections of its parent.
        self._inherited: list[Any] = []
        # The hooks of each list that was read: a list never changes.
        self._lists: dict[str, Any] = {}
        self._ends: dict[int, Transition] = {}
        self._fed = 0
        self._trim_due = time.monotonic() + TRIM_SECONDS
        forks.watch(self)

    def before_fork(self) -> None:
        """Wait until no thread writes."""
        self._lock.acquire()

    def after_fork(self, *, child: bool) -> None:
        """Go on; the next use opens the journal again."""
        if child:
            self._leave_to_parent()
        self._lock.release()

    @abstractmethod
    def _leave_to_parent(self) -> None:
        """Forget what belongs to the parent of this forked child."""

    @abstractmethod
    def read(self, work: Callable[[Session], T]) -> T:
        """Call `work`, which only reads."""

    @abstractmethod
    def _hook_transaction(
        self, settled: Settled, fence: Fence | Claim | None
    ) -> AbstractContextManager[Any]:
        """Return a connection in a transaction that is committed with a delivery's status."""

    @abstractmethod
    def size(self) -> int:
        """Return how many bytes are in use."""

    # -- writing ----------------------------------------------------------------------------

    def commit(self, group: Group, owner: str, fence: Fence | None = None) -> None:
        self._commit(group, owner, fence)
        self._fed += len(group.data)

    def _commit(self, group: Group, owner: str, fence: Fence | None) -> None:
        self.transact(lambda session: self._write(session, group, owner, fence))

    def _write(self, session: Session, group: Group, owner: str, fence: Fence | None) -> None:
        """Write a group within a transaction."""
        if fence is None:
            number_of(session, owner)
        has_events = any(kind == "E" for kind, _ in group.others)
        if group.runs or has_events:
            # Lines are read from their table, and leave the room in the feed to what happens.
            group = group._replace(data=group.without_lines())
        changed = self._put_runs(session, group, owner) if group.runs else 0
        if changed < group.runs:
            # Known already; or there are bytes between the records, where the statement stops.
            whole = Group.read(group.data)
            if whole.data != group.data:
                changed += self._put_runs(session, whole, owner)
        write_others(session, owner, group.others)
        put_for_workers(session, group.data)
        if not (changed or has_events):
            check(session, fence)
        elif not feed.put(session, group.data, owner, fence):
            raise StaleOwnerError(owner, 0 if fence is None else fence.token)
        if self._must_trim():
            feed.trim(session)
            trim_lines(session, self._log_bytes)
            self._fed, self._trim_due = 0, time.monotonic() + TRIM_SECONDS

    def _must_trim(self) -> bool:
        return self._fed > TRIM_BYTES or time.monotonic() > self._trim_due

    def _put_runs(self, session: Session, group: Group, owner: str) -> int:
        return session.run(self.PUT_RUNS, self._values(group, owner))

    @staticmethod
    def _values(group: Group, owner: str) -> dict[str, Any]:
        return {"data": group.data, "size": len(group.data), "owner": owner}

    @contextmanager
    def transaction(self, settled: Settled, fence: Fence | Claim | None = None) -> Iterator[Any]:
        if self.in_transaction():
            raise JournalError("This thread is within a transaction of a hook's own already.")
        with self._hook_transaction(settled, fence) as connection:
            self._local.in_transaction = True
            try:
                yield connection
            finally:
                self._local.in_transaction = False

    def in_transaction(self) -> bool:
        return getattr(self._local, "in_transaction", False)

    def _settle(self, session: Session, settled: Settled, fence: Fence | Claim | None) -> None:
        """Write the status of a delivery at the end of a hook's own transaction.

        Raises:
            StaleOwnerError: the fence is no longer in force.
            ClaimLostError: nor is the claim.
            JournalError: the delivery was acknowledged already, or is not there.
        """
        check(session, fence)
        if isinstance(fence, Claim):
            end_claim(session, fence)
            # By the clock of the database, as all that is claimed.
            settled = settled._replace(updated=session.now())
        status = status_of(session, settled)
        if status in {None, DeliveryStatus.DELIVERED} or not put_settled(session, settled):
            key = delivery_id(int(settled.run, 16), settled.sequence, settled.ordinal)
            raise JournalError(
                f"The delivery {key} is delivered already, or the journal "
                "does not hold it; what the hook wrote in its transaction was taken back."
            )

    # -- reading ----------------------------------------------------------------------------

    def run(self, run_id: UUID) -> RunRow | None:
        stored = self.read(lambda session: stored_run(session, run_id.int))

        return None if stored is None else run_row(stored)

    def runs(self, query: RunQuery) -> list[RunRow]:
        return [*map(run_row, self.read(lambda session: select_runs(session, query)))]

    def tally(self, query: RunQuery) -> dict[StateType, int]:
        return self.read(lambda session: tally_runs(session, query))

    def events(self, run_id: UUID) -> list[EventRow]:
        run = self.read(lambda session: stored_run(session, run_id.int))

        return [] if run is None else [*event_rows(run.id, transitions_of(run))]

    def events_after(self, cursor: Cursor, limit: int) -> tuple[list[EventRow | OwnEvent], Cursor]:
        return self.read(lambda session: feed.read(session, self.AFTER, cursor, limit, self._ends))

    def keeps(self, since: datetime) -> bool:
        return self.read(lambda session: feed.keeps(session, micros(since)))

    def histories(
        self, since: datetime, after: UUID | None, limit: int
    ) -> list[tuple[RunRow, list[EventRow]]]:
        return self.read(lambda session: feed.histories(session, micros(since), after, limit))

    def tree(self, run_id: UUID, limit: int = 2**31) -> list[StoredRun]:
        return self.read(lambda session: select_tree(session, run_id.int, limit))

    def tally_tree(self, run_id: UUID) -> list[TalliedRuns]:
        return self.read(lambda session: tally_tree(session, run_id.int))

    def deliveries(self, query: DeliveryQuery) -> list[DeliveryRow]:
        return self.read(lambda session: select_deliveries(session, query))

    def failed_by_hook(self) -> list[FailedDeliveries]:
        return self.read(failed_by_hook)

    def logged(self, run_id: UUID, *, own: bool = False) -> dict[UUID, int]:
        return self.read(lambda session: logged_in(session, run_id, own=own))

    def lines(self, run_id: UUID, after: int = 0, limit: int = 1000) -> list[LogRow]:
        return self.read(lambda session: select_lines(session, run_id, after, limit))

    def hook_sets(self, owner: str) -> dict[str, str]:
        text = "SELECT id, hooks FROM @hook_sets WHERE owner = ?"

        return dict(self.read(lambda session: session.all(text, (owner,))))

    # -- owners -----------------------------------------------------------------------------

    def register(self, owner: OwnerRow, lease_seconds: float | None = None) -> Fence:
        token = self.transact(
            lambda session: statements.put_owner(session, owner, None, lease_seconds)
        )
        self._remember(owner, token)

        return Fence(owner.id, token)

    def _remember(self, owner: OwnerRow, token: int) -> None:
        """Remember an owner of this process, for databases that may get lost."""

    def renew(self, fence: Fence, lease_seconds: float) -> bool:
        text = "UPDATE @owners SET lease_until = ? WHERE id = ? AND token = ? AND ended IS NULL"

        def work(session: Session) -> int:
            until = session.now() + int(lease_seconds * 1e6)
            return session.run(text, (until, fence.owner, fence.token))

        return self.transact(work) == 1

    def end(self, owner: str, reason: str, *, only_lapsed: bool = False) -> bool:
        return self.transact(
            lambda session: statements.end_owner(session, owner, reason, only_lapsed=only_lapsed)
        )

    def owners(self, *, alive: bool = False, lapsed: bool = False) -> list[OwnerRow]:
        def work(session: Session) -> list[tuple[Any, ...]]:
            where = " WHERE ended IS NULL" if alive or lapsed else ""
            where += f" AND lease_until < {session.now()}" if lapsed else ""
            return session.all(f"SELECT {OWNER} FROM @owners{where} ORDER BY token")

        return [*map(owner_in, self.read(work))]

    def claim(self, fence: Fence, limit: int = 1000, owner: str | None = None) -> list[RunRow]:
        claimed = self.transact(lambda session: statements.claim(session, fence, limit, owner))

        return [*map(run_row, claimed)]

    # -- requests ---------------------------------------------------------------------------

    def ask_cancel(self, run_id: UUID) -> bool:
        return self.transact(lambda session: statements.ask_cancel(session, run_id))

    def cancels(self, owner: str) -> list[UUID]:
        return self.read(
            lambda session: [id_of(session.number(key)) for (key,) in session.all(ASKED, (owner,))]
        )

    # -- maintenance -----------------------------------------------------------------------

    def redrive(self, delivery_ids: Iterable[UUID]) -> int:
        ids = list(delivery_ids)

        return self.transact(lambda session: statements.redrive(session, ids))

    def prune(self, *, older_than: datetime | None = None, max_bytes: int | None = None) -> Pruned:
        with self._unhurried():
            return self._prune(older_than, max_bytes)

    def _prune(self, older_than: datetime | None, max_bytes: int | None) -> Pruned:
        before = 0 if older_than is None else micros(older_than)
        done = [*self._deleted(before)] if before else []
        while max_bytes is not None and (surplus := self._surplus(max_bytes)):
            before = EVER
            done += (some := [*self._deleted(EVER, surplus)])
            if not sum(each.runs for each in some):
                break
        runs, events, deliveries = (sum(each[column] for each in done) for column in range(3))
        self.transact(maintenance.forget_shared)
        pruned = Pruned(runs, events, deliveries, owners=self._delete_owners(before))
        self._shrink()

        return pruned

    def _deleted(self, before: int, most: int = EVER) -> Iterator[Deleted]:
        """Delete up to so many runs, the oldest first; yields what was deleted each time."""
        after, left = 0, most
        while left > 0:
            first, limit = after, min(left, CHUNK)

            def delete(session: Session, first: int = first, limit: int = limit) -> Deleted:
                return maintenance.delete_runs(session, first, before, limit)

            deleted = self.transact(delete)
            yield deleted
            after, left = deleted.last, left - deleted.runs
            if not after or after >> 80 > before // 1000 + CLOCKS_MS:
                return

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
        due = self.read(lambda session: maintenance.is_due(session, every))
        # Two processes may find it due at once: one of them prunes.
        if not due or not self.transact(lambda session: maintenance.claim_pruning(session, every)):
            return None

        return self.prune(older_than=older_than, max_bytes=max_bytes)

    def _unhurried(self) -> AbstractContextManager[None]:
        """Wait for answers without a limit in the block, which may take minutes."""
        return nullcontext()

    def _shrink(self) -> None:
        """Release unused space to the system, for databases that do not do so by themselves."""

    def verify(self) -> list[Finding]:
        with self._unhurried():
            return self.read(maintenance.findings)

    def statistics(self) -> Statistics:
        with self._unhurried():
            size = self.size()
            return self.read(lambda session: maintenance.statistics(session, size))
