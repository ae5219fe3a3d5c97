"""The contract of a journal: what it records, and how it is written, read, owned and maintained.

A journal holds runs and the owners: the processes that execute runs. The events of a run, and one
delivery for every hook that a transition is owed to, are read from what is stored of the run. It is
written in groups of records, see `eventflow.journal.records`. Every run has a *keeper*, the owner
that is responsible for it: at first the one that executes it, later the one that claimed it from a
dead owner.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Protocol, TypeAlias
from uuid import UUID

from eventflow.errors import JournalError
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.claims import Claim, Claiming
from eventflow.journal.records import BEGUN, Record, Settled, content_of, scan
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
)
from eventflow.primitives.loggers import get_logger
from eventflow.runs.run import RunType
from eventflow.states import StateType

__all__ = [
    "START",
    "Cursor",
    "DeliveryQuery",
    "Fence",
    "Group",
    "Journal",
    "NewerSchemaError",
    "RunQuery",
    "StaleOwnerError",
    "UnstorableError",
    "decoded",
]

Cursor: TypeAlias = tuple[int, int, int]
"""A position among all events, in the order in which they became readable: the epoch and the place
of a group of records, and how far it was read."""

START: Final[Cursor] = (0, 0, 0)
"""Before the first event that is kept."""

LINE: Final = "G"
"""The kind of record that holds a line that was logged."""


class Group(NamedTuple):
    """Records to commit together.

    `data` holds whole records, one after another, as they are in a segment; `runs` is how many of
    them are of kind R; `others` has kind and content of the other ones, in their order.
    """

    data: bytes
    runs: int
    others: Sequence[tuple[str, Any]] = ()

    @classmethod
    def read(cls, data: bytes) -> Group:
        """Return all whole records in some bytes, also behind torn ones and holes."""
        records = [*scan(data)]
        whole = b"".join(data[start:end] for _, start, end in records)
        others = [each for each in records if each.kind not in {"R", BEGUN}]

        return cls(whole, sum(each.kind == "R" for each in records), decoded(data, others))

    def without_lines(self) -> bytes:
        """Return the records without the lines that were logged."""
        if all(kind != LINE for kind, _ in self.others):
            return self.data

        return b"".join(
            self.data[start:end] for kind, start, end in scan(self.data) if kind != LINE
        )


def decoded(data: Any, records: Iterable[Record]) -> list[tuple[str, Any]]:
    """Return kind and content of records that are not about a run."""
    contents = []
    for record in records:
        try:
            contents.append((record.kind, content_of(data, record)))
        except ValueError as error:
            get_logger("journal").error(f"A record of the journal cannot be read: {error}")

    return contents


class StaleOwnerError(JournalError):
    """An owner that counts as dead tried to write; trying again does not help."""

    def __init__(self, owner: str, token: int) -> None:
        super().__init__(
            f"The owner {owner!r} with token {token} answers for nothing any more: another process "
            "took it for dead and took over its runs, or it ended. Register it again for new runs."
        )


class NewerSchemaError(JournalError):
    """Only a newer eventflow can read the journal; trying again does not help."""

    def __init__(self, where: str, version: int, known: int) -> None:
        super().__init__(
            f"The journal {where} has schema {version}, made by a newer eventflow; this one knows "
            f"{known}. Upgrade eventflow, or set EVENTFLOW_JOURNAL_URL to another journal."
        )


class UnstorableError(JournalError):
    """A record cannot be stored, however often it is tried; the journal itself works."""


@dataclass(frozen=True, slots=True)
class Fence:
    """The token under which an owner writes: refused once the owner counts as dead.

    A later registration, of any owner, has a higher token.
    """

    owner: str
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQuery:
    """Which runs to read: newest first, at most `limit`. `definition` is a glob over the name.

    A run matches if any of `state_types` or `state_names` does. `id_part` is hex digits without
    dashes, with which the id begins or ends; `top` leaves out runs that another run called. `text`
    is part of its name, or its definition's, in any case, or of what its states say. `since` and
    `until` are when it was made, both included; `before` and `after` are runs: only older or newer
    ones are read. The first `skip` that match are left out.
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
    tags: Sequence[str] = ()
    text: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: UUID | None = None
    after: UUID | None = None
    skip: int = 0
    limit: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryQuery:
    """Which deliveries to read, at most `limit`: ordered by run, by event and by hook.

    With `newest` the last ones, newest first. `hook` is a glob over the identity of the hook;
    `id_part` as in `RunQuery`. `of_workers` is whether workers run the hooks.
    """

    id: UUID | None = None
    id_part: str | None = None
    run_id: UUID | None = None
    hook: str | None = None
    newest: bool = False
    statuses: Sequence[DeliveryStatus] = ()
    keeper: str | None = None
    of_workers: bool | None = None
    limit: int = 1000


class Journal(Claiming, Protocol):
    """The durable record of runs. Safe to use from any thread; many processes may share one.

    Every method raises `JournalError` where the journal cannot be read or written. A text that
    the database cannot hold (a lone surrogate, in PostgreSQL a NUL) is stored with U+FFFD in its
    place.
    """

    in_hurry: bool
    """Whether to wait for others a moment only: set when a process ends whose lines are safe."""

    def commit(self, group: Group, owner: str, fence: Fence | None = None) -> None:
        """Write the records of an owner, whole or not at all.

        They are as durable as asked for on return. Doing it again changes nothing, so that a commit
        of unknown outcome may be repeated. Bytes between the records that are none are passed over.

        Raises:
            StaleOwnerError: the fence is no longer in force; nothing was written.
            UnstorableError: a record cannot be stored; nothing was written.
        """
        ...

    def transaction(
        self, settled: Settled, fence: Fence | Claim | None = None
    ) -> AbstractContextManager[Any]:
        """Return a connection whose transaction is committed together with a delivery's status.

        For a hook whose work must happen exactly once: its rows and the acknowledgement are
        committed at the end of the block, or neither. The connection is one of `sqlite3` or
        `psycopg`; it must not be committed or rolled back within the block. In SQLite all other
        writers wait for the end of the block, so that slow work belongs before it.

        Raises:
            StaleOwnerError: the fence is not in force any more (of a claim: ClaimLostError).
            JournalError: it is delivered already, or does not exist. Nothing was written.
        """
        ...

    def in_transaction(self) -> bool:
        """Return whether this thread is within a `transaction` and therefore cannot commit."""
        ...

    # -- reading ----------------------------------------------------------------------------

    def run(self, run_id: UUID) -> RunRow | None:
        """Return one run."""
        ...

    def runs(self, query: RunQuery) -> list[RunRow]:
        """Return the runs that match, newest first."""
        ...

    def tally(self, query: RunQuery) -> dict[StateType, int]:
        """Count all runs that match, whatever states are asked for, by the types of these."""
        ...

    def events(self, run_id: UUID) -> list[EventRow]:
        """Return the events of a run, in order."""
        ...

    def events_after(self, cursor: Cursor, limit: int) -> tuple[list[EventRow | OwnEvent], Cursor]:
        """Return events of all runs, and users' own ones, and the cursor after them.

        None is ever skipped, but those that were committed more than an hour ago, or before more
        than 64 MB of other records, are kept no longer.
        """
        ...

    def cursor(self, before: datetime | None = None) -> Cursor:
        """Return the cursor after the last event, or before the first one committed since then."""
        ...

    def keeps(self, since: datetime) -> bool:
        """Return whether `events_after` keeps all that was committed since a moment."""
        ...

    def histories(
        self, since: datetime, after: UUID | None, limit: int
    ) -> list[tuple[RunRow, list[EventRow]]]:
        """Return runs with all their events: those that had not ended before a moment.

        In the order of their ids, at most `limit` of them, those behind a run's.
        """
        ...

    def tree(self, run_id: UUID, limit: int = 2**31) -> list[StoredRun]:
        """Return a run and all that it called, directly or not, in the order of their ids.

        As they are stored, with all their events: to make rows of thousands takes long. Where these
        are more than `limit`, that many of them, each with the one that called it.
        """
        ...

    def tally_tree(self, run_id: UUID) -> list[TalliedRuns]:
        """Count a run and all that it called, by definition and state."""
        ...

    def wait(self, cursor: Cursor, timeout: float) -> bool:
        """Wait up to `timeout` seconds for an event after the cursor; False if none came."""
        ...

    def deliveries(self, query: DeliveryQuery) -> list[DeliveryRow]:
        """Return the deliveries that match, ordered by run, by event and by hook."""
        ...

    def failed_by_hook(self) -> list[FailedDeliveries]:
        """Return the hooks with deliveries that have failed or are dead, those with most first."""
        ...

    def logged(self, run_id: UUID, *, own: bool = False) -> dict[UUID, int]:
        """Return how many lines were logged in a run, and in each that it has called.

        With `own` only in the run itself. Of a run that has logged nothing, none. They count what
        is not kept as well.
        """
        ...

    def lines(self, run_id: UUID, after: int = 0, limit: int = 1000) -> list[LogRow]:
        """Return the lines of a run that are kept, those behind a sequence, at most `limit`."""
        ...

    def hook_sets(self, owner: str) -> dict[str, str]:
        """Return the sets of hooks that an owner recorded, as texts by their id."""
        ...

    # -- owners -----------------------------------------------------------------------------

    def register(self, owner: OwnerRow, lease_seconds: float | None = None) -> Fence:
        """Add an owner, or raise the token of a known one.

        With a lease it counts as lapsed after that many seconds without a `renew`.
        """
        ...

    def renew(self, fence: Fence, lease_seconds: float) -> bool:
        """Prolong a lease; return False if the owner counts as dead by now."""
        ...

    def end(self, owner: str, reason: str, *, only_lapsed: bool = False) -> bool:
        """Mark an owner as ended, by itself or by another that found it dead: it cannot write now.

        With `only_lapsed` only if its lease has run out. Returns False if nothing was changed.
        """
        ...

    def owners(self, *, alive: bool = False, lapsed: bool = False) -> list[OwnerRow]:
        """Return all owners, those that have not ended, or those of them whose lease ran out."""
        ...

    def claim(self, fence: Fence, limit: int = 1000, owner: str | None = None) -> list[RunRow]:
        """Become the keeper of runs that have no live one, and are unfinished or owe hooks.

        A run goes to one claimer only, with all its deliveries, so that their order is kept. With
        `owner`, only runs that this owner executed are claimed.

        Raises:
            StaleOwnerError: the fence is no longer in force.
        """
        ...

    # -- requests ---------------------------------------------------------------------------

    def ask_cancel(self, run_id: UUID) -> bool:
        """Request a run's cancellation; return False if there is no such unfinished run.

        A run of which nothing has reached the journal yet does not exist here.
        """
        ...

    def cancels(self, owner: str) -> list[UUID]:
        """Return the unfinished runs of an owner whose cancellation is requested."""
        ...

    # -- maintenance -----------------------------------------------------------------------

    def redrive(self, delivery_ids: Iterable[UUID]) -> int:
        """Make dead deliveries pending again, with all their attempts; return how many.

        Those of an ended run can be claimed at once, the others when their keeper ends.
        """
        ...

    def prune(self, *, older_than: datetime | None = None, max_bytes: int | None = None) -> Pruned:
        """Delete runs that ended before a moment, and then the oldest until the size fits.

        A run that has not ended, or that still owes a hook, is never deleted.
        """
        ...

    def prune_if_due(
        self, *, older_than: datetime | None = None, max_bytes: int | None = None, every: timedelta
    ) -> Pruned | None:
        """Prune, unless some process did so less than `every` ago; then it returns None at once."""
        ...

    def verify(self) -> list[Finding]:
        """Return all faults, see `Finding`; the list of a clean journal is empty."""
        ...

    def statistics(self) -> Statistics:
        """Count the rows of every kind."""
        ...

    def close(self) -> None:
        """Close files and connections; the next use opens them again."""
        ...
