"""The statements of the journals in SQL databases, written once for all of them.

`@` stands before the name of a table and `?` for a value; a session puts in what its database
wants there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol
from uuid import UUID

from eventflow.errors import JournalError
from eventflow.journal.base import Batch, DeliveryQuery, Fence, RunQuery, StaleOwnerError
from eventflow.journal.rows import (
    OWED,
    Codec,
    DeliveryRow,
    EventRow,
    OwnerRow,
    RunRow,
    Settlement,
    micros,
)

__all__ = [
    "EVENT_COLUMNS",
    "OWED_LIST",
    "Session",
    "check",
    "claim",
    "end_owner",
    "put_owner",
    "redrive",
    "select_deliveries",
    "select_runs",
    "settle",
    "write",
]


class Session(Protocol):
    """A connection in use: it runs statements, and knows what is special about its database."""

    share: str
    """Keeps a row that was read from being changed until the transaction ends."""
    take: str
    """Locks the rows `r` that were read, and leaves out those that others have locked."""
    unmoved: str
    """Keeps the run `r` with the last of all events, where its place would be given to another."""

    def all(self, text: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Give all rows of a query."""
        ...

    def run(self, text: str, values: Sequence[Any] = ()) -> int:
        """Run a statement; gives how many rows it changed."""
        ...

    def many(self, text: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement once for each of the rows."""
        ...

    def freeze(self) -> None:
        """Have all that is read from now on be of one moment."""
        ...

    def now(self) -> int:
        """Give the time, in microseconds since 1970, by the one clock of this database."""
        ...

    def glob(self, column: str, pattern: str) -> tuple[str, str]:
        """Give the condition that a text matches a glob, and the value in it."""
        ...


def _marks(count: int) -> str:
    return ", ".join("?" * count)


OWED_LIST: Final = "('" + "', '".join(OWED) + "')"
EVENT_COLUMNS: Final = ", ".join(EventRow._fields)
_FIXED: Final = frozenset({"id", "run_type", "owner", "created", "parent_run_id", "flow_run_id"})
_NEWER: Final = ", ".join(f"{one} = excluded.{one}" for one in RunRow._fields if one not in _FIXED)

# A row that comes late, from whoever, never takes the place of a newer one.
PUT_RUN: Final = (
    f"INSERT INTO @runs VALUES ({_marks(len(RunRow._fields) + 1)})"  # noqa: S608 - fixed text
    f" ON CONFLICT (id) DO UPDATE SET {_NEWER} WHERE excluded.sequence >= @runs.sequence"
)
PUT_EVENT: Final = (
    f"INSERT INTO @events ({EVENT_COLUMNS}) VALUES ({_marks(len(EventRow._fields))})"  # noqa: S608 - fixed text
    " ON CONFLICT DO NOTHING"
)
PUT_DELIVERY: Final = (
    f"INSERT INTO @deliveries VALUES ({_marks(len(DeliveryRow._fields))}) ON CONFLICT DO NOTHING"  # noqa: S608 - fixed text
)
# What was delivered stays delivered, whoever comes late.
SETTLE: Final = (
    "UPDATE @deliveries SET status = ?, attempts = ?, updated = ?, due = ?, error = ?"
    " WHERE run_id = ? AND id = ? AND status <> 'delivered'"
)
_AGAIN: Final = ", ".join(f"{one} = excluded.{one}" for one in OwnerRow._fields if one != "id")
PUT_OWNER: Final = (
    f"INSERT INTO @owners VALUES ({_marks(len(OwnerRow._fields))})"  # noqa: S608 - fixed text
    f" ON CONFLICT (id) DO UPDATE SET {_AGAIN}"
)
# Two narrow indexes lead to what is not done with; then only those that nobody alive keeps.
CLAIMABLE: Final = (
    "SELECT r.id, r.keeper FROM @runs r WHERE r.id IN ("  # noqa: S608 - fixed text
    "SELECT id FROM @runs WHERE ended IS NULL"
    f" UNION SELECT run_id FROM @deliveries WHERE status IN {OWED_LIST})"
    " AND NOT EXISTS (SELECT 1 FROM @owners o WHERE o.id = r.keeper AND o.ended IS NULL)"
    " ORDER BY r.id LIMIT ?"
)

# The flow and what hangs from it, found by the one index there is: that of the parents.
OF_FLOW: Final = (
    "id IN (WITH RECURSIVE below(id) AS (SELECT id FROM @runs WHERE id = ? UNION"
    " SELECT r.id FROM @runs r JOIN below ON r.parent_run_id = below.id WHERE r.flow_run_id = ?)"
    " SELECT id FROM below)"
)


def write(session: Session, codec: Codec, batch: Batch) -> None:
    """Write a batch within a transaction.

    Raises:
        StaleOwnerError: its fence is no longer in force.
    """
    check(session, batch.fence)
    if batch.runs:
        session.many(PUT_RUN, [codec.run_out(row) for row in batch.runs.values()])
    if batch.events:
        session.many(PUT_EVENT, [codec.event_out(row) for row in batch.events])
    if batch.deliveries:
        session.many(PUT_DELIVERY, [codec.delivery_out(row) for row in batch.deliveries])
    if batch.settlements:
        session.many(SETTLE, [codec.settlement_out(row) for row in batch.settlements])


def check(session: Session, fence: Fence | None) -> None:
    """Make sure that a fence is in force, and stays so until the transaction ends.

    Raises:
        StaleOwnerError: it is not.
    """
    if fence is None:
        return
    text = f"SELECT 1 FROM @owners WHERE id = ? AND token = ? AND ended IS NULL{session.share}"  # noqa: S608 - fixed text
    if not session.all(text, (fence.owner, fence.token)):
        raise StaleOwnerError(fence.owner, fence.token)


def settle(session: Session, codec: Codec, settlement: Settlement, fence: Fence | None) -> None:
    """Acknowledge a delivery at the end of a transaction of the hook's own.

    Raises:
        StaleOwnerError: the fence is no longer in force.
        JournalError: the delivery was acknowledged already, or is not there.
    """
    check(session, fence)
    if session.run(SETTLE, codec.settlement_out(settlement)) != 1:
        raise JournalError(
            f"The delivery {settlement.delivery_id} is delivered already, or the journal does not "
            "hold it; what the hook wrote in the journal's transaction was taken back."
        )


def put_owner(
    session: Session, owner: OwnerRow, token: int | None, lease_seconds: float | None
) -> int:
    """Enter an owner, under the next token unless one is given; gives the token."""
    if token is None:
        session.run("UPDATE @meta SET value = value + 1 WHERE name = 'token'")
        token = int(session.all("SELECT value FROM @meta WHERE name = 'token'")[0][0])
    else:
        session.run("UPDATE @meta SET value = ? WHERE name = 'token' AND value < ?", (token, token))
    lease = None if lease_seconds is None else session.now() + int(lease_seconds * 1e6)
    session.run(PUT_OWNER, (*Codec.owner_out(owner), token, lease, None, None))

    return token


def end_owner(session: Session, owner: str, reason: str, *, only_lapsed: bool) -> bool:
    """Mark an owner as ended; gives False where there was nothing to mark."""
    now = session.now()
    lapsed = f" AND lease_until < {now}" if only_lapsed else ""
    text = f"UPDATE @owners SET ended = ?, reason = ? WHERE id = ? AND ended IS NULL{lapsed}"  # noqa: S608 - a number

    return session.run(text, (now, reason, owner)) == 1


def claim(session: Session, codec: Codec, fence: Fence, limit: int) -> list[RunRow]:
    """Become the keeper of runs that have none alive.

    Raises:
        StaleOwnerError: the fence is no longer in force.
    """
    check(session, fence)
    # The old keeper is asked for again: another claimer may have been faster.
    taken = [
        run_id
        for run_id, keeper in session.all(CLAIMABLE + session.take, (limit,))
        if session.run(
            "UPDATE @runs SET keeper = ? WHERE id = ? AND keeper = ?", (fence.owner, run_id, keeper)
        )
    ]

    return [
        codec.run_in(row)
        for run_id in taken
        for row in session.all("SELECT * FROM @runs WHERE id = ?", (run_id,))
    ]


def redrive(session: Session, codec: Codec, delivery_ids: Iterable[UUID]) -> int:
    """Make dead deliveries pending again; gives how many."""
    wanted = {codec.store_id(one) for one in delivery_ids}
    dead = session.all("SELECT run_id, id FROM @deliveries WHERE status = 'dead'")
    revived = [key for key in dead if key[1] in wanted]
    if revived:
        session.many(
            "UPDATE @deliveries SET status = 'pending', attempts = 0, due = NULL"
            " WHERE run_id = ? AND id = ?",
            revived,
        )
        # A keeper of the living does not look again at a run that has ended.
        session.many(
            "UPDATE @runs SET keeper = '' WHERE ended IS NOT NULL AND id = ?",
            [(run_id,) for run_id, _ in revived],
        )

    return len(revived)


def select_runs(session: Session, codec: Codec, query: RunQuery) -> list[RunRow]:
    """Give the runs that are asked for."""
    conditions, values = _where(
        ("run_type = ?", query.run_type),
        ("parent_run_id = ?", query.parent_run_id and codec.store_id(query.parent_run_id)),
        ("keeper = ?", query.keeper),
        ("created >= ?", query.since and micros(query.since)),
    )
    if query.flow_run_id is not None:
        conditions.append(OF_FLOW)
        values += [codec.store_id(query.flow_run_id)] * 2
    if query.definition is not None:
        condition, value = session.glob("definition", query.definition)
        conditions.append(condition)
        values.append(value)
    if query.unfinished:
        conditions.append("ended IS NULL")
    if query.state_types:
        conditions.append(f"state_type IN ({_marks(len(query.state_types))})")
        values += map(str, query.state_types)
    text = f"SELECT * FROM @runs{_and(conditions)} ORDER BY id DESC LIMIT ?"  # noqa: S608 - fixed text

    return [codec.run_in(row) for row in session.all(text, (*values, query.limit))]


def select_deliveries(session: Session, codec: Codec, query: DeliveryQuery) -> list[DeliveryRow]:
    """Give the deliveries that are asked for."""
    conditions, values = _where(
        ("d.id = ?", query.id and codec.store_id(query.id)),
        ("d.run_id = ?", query.run_id and codec.store_id(query.run_id)),
        ("r.keeper = ?", query.keeper),
    )
    if query.statuses:
        conditions.append(f"d.status IN ({_marks(len(query.statuses))})")
        values += map(str, query.statuses)
        if set(query.statuses) <= set(OWED):
            # Said once more in the words of the index, which a `?` cannot match.
            conditions.append(f"d.status IN {OWED_LIST}")
    columns = ", ".join(f"d.{one}" for one in DeliveryRow._fields)
    # Of one run in the order of its events, then in the order of declaration.
    text = (
        f"SELECT {columns} FROM @deliveries d"  # noqa: S608 - fixed text
        " LEFT JOIN @runs r ON r.id = d.run_id LEFT JOIN @events e"
        " ON e.run_id = d.run_id AND e.id = d.event_id"
        f"{_and(conditions)} ORDER BY e.occurred, d.run_id, e.sequence, d.ordinal, d.id LIMIT ?"
    )

    return [codec.delivery_in(row) for row in session.all(text, (*values, query.limit))]


def _where(*given: tuple[str, Any]) -> tuple[list[str], list[Any]]:
    wanted = [one for one in given if one[1] is not None]

    return [text for text, _ in wanted], [value for _, value in wanted]


def _and(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""
