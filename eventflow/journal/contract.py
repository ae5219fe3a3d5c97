"""The journal's contract: what is recorded, and how it is written, read, owned and tended.

A journal holds runs, the events of their transitions, one delivery for every hook that is owed
one, and the owners: the processes that execute runs. Rows are written in batches; a batch is
committed whole or not at all. Every run has a *keeper*, the owner that answers for it now: at
first the one that executes it, later whoever claimed it from a dead one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Protocol, TypeAlias
from uuid import UUID

from eventflow.errors import JournalError
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.rows import DeliveryRow, EventRow, OwnerRow, RunRow, Settlement
from eventflow.runs.run import RunType
from eventflow.states import StateType

__all__ = [
    "START",
    "Batch",
    "Cursor",
    "DeliveryQuery",
    "Fence",
    "Finding",
    "Journal",
    "Pruned",
    "RunQuery",
    "StaleOwnerError",
    "Statistics",
    "UnstorableError",
]

Cursor: TypeAlias = tuple[int, int]
"""A place among all events, in the order in which they became readable."""

START: Final[Cursor] = (0, 0)
"""Before the first event."""


class StaleOwnerError(JournalError):
    """An owner that was given up for dead tried to write; trying again is of no use."""

    def __init__(self, owner: str, token: int) -> None:
        super().__init__(
            f"The owner {owner!r} with token {token} answers for nothing any more: another process "
            "took it for dead and took over its runs, or it ended. Register it again for new runs."
        )


class UnstorableError(JournalError):
    """A row cannot be stored, however often it is tried; the journal itself is well."""


@dataclass(frozen=True, slots=True)
class Fence:
    """What an owner proves itself with: refused once the owner was given up for dead.

    A later registration, of any owner, has a higher token.
    """

    owner: str
    token: int


@dataclass(slots=True)
class Batch:
    """Rows to be committed together; of one run only the last row counts."""

    fence: Fence | None = None
    runs: dict[UUID, RunRow] = field(default_factory=dict)
    events: list[EventRow] = field(default_factory=list)
    deliveries: list[DeliveryRow] = field(default_factory=list)
    settlements: list[Settlement] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.runs) + len(self.events) + len(self.deliveries) + len(self.settlements)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQuery:
    """Which runs to read: newest first, at most `limit`. `definition` is a glob over the name.

    Of `state_types` and `state_names` one match is enough. `id_part` are hex digits, without
    dashes, with which the id begins or ends; `top` leaves out what another run called.
    """

    run_type: RunType | None = None
    name: str | None = None
    id_part: str | None = None
    state_types: Sequence[StateType] = ()
    state_names: Sequence[str] = ()
    definition: str | None = None
    unfinished: bool = False
    top: bool = False
    parent_run_id: UUID | None = None
    flow_run_id: UUID | None = None
    keeper: str | None = None
    since: datetime | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryQuery:
    """Which deliveries to read: in the order in which they came to be owed, at most `limit`.

    With `newest` those that came last, and these first. `hook` is a glob over its identity;
    `id_part` as in `RunQuery`.
    """

    id: UUID | None = None
    id_part: str | None = None
    run_id: UUID | None = None
    hook: str | None = None
    newest: bool = False
    statuses: Sequence[DeliveryStatus] = ()
    keeper: str | None = None
    limit: int = 1000


@dataclass(frozen=True, slots=True)
class Pruned:
    """What `prune` deleted."""

    runs: int
    events: int
    deliveries: int
    owners: int


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that `verify` found wrong: a kind, the run, and what it is."""

    kind: str
    run_id: UUID
    message: str


@dataclass(frozen=True, slots=True)
class Statistics:
    """How much a journal holds. `size` is in bytes, with what is free for reuse left out."""

    runs: int
    unfinished: int
    events: int
    deliveries: dict[str, int]
    owners: int
    alive: int
    size: int
    schema: int


class Journal(Protocol):
    """Keeps what happened. Safe to use from any thread; many processes may share one.

    Every method raises `JournalError` where the journal cannot be read or written. A text that
    the database cannot hold (a lone surrogate, in PostgreSQL a NUL) is stored with U+FFFD in its
    place.
    """

    def commit(self, batch: Batch) -> None:
        """Write a batch, whole or not at all; it is as durable as asked for on return.

        Doing it again changes nothing, so that a commit of unknown outcome may be repeated.

        Raises:
            StaleOwnerError: the batch's fence is no longer in force; nothing was written.
            UnstorableError: a row cannot be stored; nothing was written.
        """
        ...

    def commit_lines(self, lines: Sequence[bytes], fence: Fence | None = None) -> None:
        """Write the rows of lines (see `eventflow.journal.format`), whole or not at all.

        As `commit`; of each run only the last row is written, and what became of a delivery among
        them is written with it. A line that cannot be read is left out, which is said in the log.

        Raises:
            StaleOwnerError: the fence is no longer in force; nothing was written.
            UnstorableError: a row cannot be stored; nothing was written.
        """
        ...

    def transaction(
        self, settlement: Settlement, fence: Fence | None = None
    ) -> AbstractContextManager[Any]:
        """Give a connection whose transaction is committed together with the settlement.

        For a hook whose work must happen exactly once: its rows and the acknowledgement are
        committed at the end of the block, or neither. The connection is that of `sqlite3` or
        `psycopg`; it must not be committed or rolled back within the block. In SQLite everyone
        else waits for the block to end, so that slow work belongs before it.

        Raises:
            StaleOwnerError: the fence is no longer in force; nothing was written.
            JournalError: the delivery is settled already, or is not there; nothing was written.
        """
        ...

    def engaged(self) -> bool:
        """Whether this thread is within a `transaction` and therefore cannot commit."""
        ...

    # -- reading ----------------------------------------------------------------------------

    def run(self, run_id: UUID) -> RunRow | None:
        """Give one run."""
        ...

    def runs(self, query: RunQuery) -> list[RunRow]:
        """Give the runs that are asked for, newest first."""
        ...

    def events(self, run_id: UUID) -> list[EventRow]:
        """Give the events of a run, in order."""
        ...

    def events_after(self, cursor: Cursor, limit: int) -> tuple[list[EventRow], Cursor]:
        """Give events of all runs and the cursor to go on from; none is ever left out."""
        ...

    def cursor(self, before: datetime | None = None) -> Cursor:
        """Give the cursor of the end, or one with every event since a moment still to come."""
        ...

    def wait(self, cursor: Cursor, timeout: float) -> bool:
        """Wait at most `timeout` seconds for an event after the cursor; says whether one came."""
        ...

    def deliveries(self, query: DeliveryQuery) -> list[DeliveryRow]:
        """Give the deliveries that are asked for, in the order in which they are owed."""
        ...

    # -- owners -----------------------------------------------------------------------------

    def register(self, owner: OwnerRow, lease_seconds: float | None = None) -> Fence:
        """Enter an owner, or enter it anew with a higher token.

        With a lease it counts as lapsed when that many seconds pass without a `renew`.
        """
        ...

    def renew(self, fence: Fence, lease_seconds: float) -> bool:
        """Prolong a lease; gives False if the owner was given up for dead meanwhile."""
        ...

    def end(self, owner: str, reason: str, *, only_lapsed: bool = False) -> bool:
        """Mark an owner as ended, by itself or by who found it dead: it can write no more.

        With `only_lapsed` only if its lease has run out. Gives False if it was not marked now.
        """
        ...

    def owners(self, *, alive: bool = False, lapsed: bool = False) -> list[OwnerRow]:
        """Give all owners, those not marked as ended, or of those the ones whose lease ran out."""
        ...

    def claim(self, fence: Fence, limit: int = 1000, owner: str | None = None) -> list[RunRow]:
        """Become the keeper of what has none alive: runs without end, runs with hooks owed.

        A run goes to one claimer only, with all its deliveries, so that their order is kept. With
        an owner, only runs that this one executed.

        Raises:
            StaleOwnerError: the fence is no longer in force.
        """
        ...

    # -- requests ---------------------------------------------------------------------------

    def ask_cancel(self, run_id: UUID) -> bool:
        """Ask for a run's cancellation; gives False if there is no such run without end.

        A run of which nothing has reached the journal yet is not there.
        """
        ...

    def cancels(self, owner: str) -> list[UUID]:
        """Give the runs without end that an owner executes and is asked to cancel."""
        ...

    # -- tending ----------------------------------------------------------------------------

    def redrive(self, delivery_ids: Iterable[UUID]) -> int:
        """Make dead deliveries pending again, with all their attempts; gives how many.

        Those of an ended run are free to be claimed at once, the others when their keeper ends.
        """
        ...

    def prune(self, *, older_than: datetime | None = None, max_bytes: int | None = None) -> Pruned:
        """Delete runs that ended before a moment, and then the oldest until the size fits.

        A run that has not ended, or of which a hook is owed still, is never deleted.
        """
        ...

    def prune_if_due(
        self, *, older_than: datetime | None = None, max_bytes: int | None = None, every: timedelta
    ) -> Pruned | None:
        """Prune, unless some process did so less than `every` ago; gives None then, at once."""
        ...

    def verify(self) -> list[Finding]:
        """Look for what must not be: see `Finding`; an empty list is a clean journal."""
        ...

    def statistics(self) -> Statistics:
        """Give how much there is of what."""
        ...

    def close(self) -> None:
        """Let go of files and connections; the next use opens them again."""
        ...
