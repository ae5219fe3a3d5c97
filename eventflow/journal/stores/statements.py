"""The statements of the journals in SQL databases, written once for all of them.

`@` stands before the name of a table, `?` for a value and EACH for one row of values or more; a
session puts in what its database wants there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Final, Protocol
from uuid import UUID

from eventflow.errors import JournalError
from eventflow.hooks.ledger import OWED, DeliveryStatus
from eventflow.journal.contract import DeliveryQuery, Fence, RunQuery, StaleOwnerError
from eventflow.journal.format import Rows
from eventflow.journal.rows import (
    Codec,
    DeliveryRow,
    EventRow,
    OwnerRow,
    RunRow,
    Settlement,
    micros,
    owner_out,
    settlement_out,
)
from eventflow.states import StateType

__all__ = [
    "ASKED",
    "EVENT_COLUMNS",
    "OWED_LIST",
    "UNKEPT",
    "Session",
    "ask_cancel",
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

    def many(self, text: str, width: int, values: Sequence[Any]) -> None:
        """Run a statement for rows whose values follow each other, with many of them for EACH."""
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
    f"INSERT INTO @runs VALUES EACH ON CONFLICT (id) DO UPDATE SET {_NEWER}"  # noqa: S608 - fixed text
    " WHERE excluded.sequence >= @runs.sequence"
)
PUT_EVENT: Final = f"INSERT INTO @events ({EVENT_COLUMNS}) VALUES EACH ON CONFLICT DO NOTHING"  # noqa: S608 - fixed text
# What was delivered stays delivered, whoever comes late.
_SETTLED: Final = (
    "status = excluded.status, attempts = excluded.attempts, due = excluded.due,"
    " error = excluded.error, updated = excluded.updated WHERE @deliveries.status <> 'delivered'"
)
# One that is there already is settled only by one that is more than owed: it may have been written
# before, without what came of it.
PUT_DELIVERY: Final = (
    "INSERT INTO @deliveries VALUES EACH ON CONFLICT (id) DO UPDATE SET"  # noqa: S608 - fixed text
    f" {_SETTLED} AND excluded.updated IS NOT NULL"
)
# Many at a time, and without UPDATE ... FROM, which older SQLites do not know.
SETTLE_MANY: Final = (
    "INSERT INTO @deliveries SELECT d.id, d.event_id, d.run_id, d.ordinal, d.hook, d.importable,"  # noqa: S608 - fixed text
    " s.column3, CAST(s.column4 AS INT), CAST(s.column6 AS INT), s.column7, CAST(s.column5 AS INT)"
    " FROM (VALUES EACH) s JOIN @deliveries d ON d.id = CAST(s.column2 AS UUID)"
    f" WHERE d.status <> 'delivered' ON CONFLICT (id) DO UPDATE SET {_SETTLED}"
)
SETTLE: Final = (
    "UPDATE @deliveries SET status = ?, attempts = ?, updated = ?, due = ?, error = ?"
    " WHERE id = ? AND status <> 'delivered'"
)
_AGAIN: Final = ", ".join(f"{one} = excluded.{one}" for one in OwnerRow._fields if one != "id")
PUT_OWNER: Final = (
    f"INSERT INTO @owners VALUES ({_marks(len(OwnerRow._fields))})"  # noqa: S608 - fixed text
    f" ON CONFLICT (id) DO UPDATE SET {_AGAIN}"
)
UNKEPT: Final = "NOT EXISTS (SELECT 1 FROM @owners o WHERE o.id = {}.keeper AND o.ended IS NULL)"
# Two narrow indexes lead to what is not done with; then only those that nobody alive keeps.
CLAIMABLE: Final = (
    "SELECT r.id FROM @runs r WHERE r.id IN ("  # noqa: S608 - fixed text
    "SELECT id FROM @runs WHERE ended IS NULL"
    f" UNION SELECT run_id FROM @deliveries WHERE status IN {OWED_LIST} AND status <> 'delivered')"
    f" AND {UNKEPT.format('r')}"
)
TAKE: Final = f"UPDATE @runs SET keeper = ? WHERE id = ? AND {UNKEPT.format('@runs')}"  # noqa: S608 - fixed text

# The flow and what hangs from it, found by the one index there is: that of the parents.
OF_FLOW: Final = (
    "id IN (WITH RECURSIVE below(id) AS (SELECT id FROM @runs WHERE id = ? UNION"
    " SELECT r.id FROM @runs r JOIN below ON r.parent_run_id = below.id WHERE r.flow_run_id = ?)"
    " SELECT id FROM below)"
)


def write(session: Session, rows: Rows, fence: Fence | None) -> None:
    """Write rows within a transaction.

    Raises:
        StaleOwnerError: the fence is no longer in force.
    """
    check(session, fence)
    for text, row, values in (
        (PUT_RUN, RunRow, chain.from_iterable(rows.runs.values())),
        (PUT_EVENT, EventRow, rows.events),
        (PUT_DELIVERY, DeliveryRow, chain.from_iterable(rows.deliveries.values())),
        (SETTLE_MANY, Settlement, chain.from_iterable(rows.settlements.values())),
    ):
        width = len(row._fields) + (row is RunRow)  # a run with its keeper
        session.many(text, width, list(values))


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


def settle(session: Session, settlement: Settlement, fence: Fence | None) -> None:
    """Acknowledge a delivery at the end of a transaction of the hook's own.

    Raises:
        StaleOwnerError: the fence is no longer in force.
        JournalError: the delivery was acknowledged already, or is not there.
    """
    check(session, fence)
    _, key, *values = settlement_out(settlement)
    status, attempts, updated, due, error = values
    if session.run(SETTLE, (status, attempts, updated, due, error, key)) != 1:
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
    session.run(PUT_OWNER, (*owner_out(owner), token, lease, None, None))

    return token


def end_owner(session: Session, owner: str, reason: str, *, only_lapsed: bool) -> bool:
    """Mark an owner as ended; gives False where there was nothing to mark."""
    now = session.now()
    lapsed = f" AND lease_until < {now}" if only_lapsed else ""
    text = f"UPDATE @owners SET ended = ?, reason = ? WHERE id = ? AND ended IS NULL{lapsed}"  # noqa: S608 - a number

    return session.run(text, (now, reason, owner)) == 1


def claim(
    session: Session, codec: Codec, fence: Fence, limit: int, owner: str | None
) -> list[RunRow]:
    """Become the keeper of runs that have none alive.

    Raises:
        StaleOwnerError: the fence is no longer in force.
    """
    check(session, fence)
    conditions, values = _where(("r.owner = ?", owner))
    text = " AND ".join([CLAIMABLE, *conditions]) + f" ORDER BY r.id LIMIT ?{session.take}"
    # The keeper is looked at once more: a claimer that was faster may have come after what this
    # statement sees as the present.
    taken = [
        run_id
        for (run_id,) in session.all(text, (*values, limit))
        if session.run(TAKE, (fence.owner, run_id))
    ]

    return [
        codec.run_in(row)
        for run_id in taken
        for row in session.all("SELECT * FROM @runs WHERE id = ?", (run_id,))
    ]


def redrive(session: Session, delivery_ids: Iterable[UUID]) -> int:
    """Make dead deliveries pending again; gives how many."""
    text = "SELECT run_id, id FROM @deliveries WHERE id = ? AND status = 'dead'"
    revived = [key for one in set(delivery_ids) for key in session.all(text, (one.hex,))]
    for run_id, one in revived:
        session.run(
            "UPDATE @deliveries SET status = 'pending', attempts = 0, due = NULL WHERE id = ?",
            (one,),
        )
        # A keeper of the living does not look again at a run that has ended.
        session.run("UPDATE @runs SET keeper = '' WHERE ended IS NOT NULL AND id = ?", (run_id,))

    return len(revived)


ASK: Final = (
    "INSERT INTO @requests SELECT id, ? FROM @runs WHERE id = ? AND ended IS NULL"
    " ON CONFLICT DO NOTHING"
)
ASKED: Final = (
    "SELECT q.run_id FROM @requests q JOIN @runs r ON r.id = q.run_id"
    " WHERE r.owner = ? AND r.ended IS NULL ORDER BY q.run_id"
)


def ask_cancel(session: Session, run_id: UUID) -> bool:
    """Note that a run is to be cancelled; gives False if there is none that could be."""
    # Here, and not at the end of each run, which would pay for it: requests are few.
    session.run(
        "DELETE FROM @requests WHERE NOT EXISTS"
        " (SELECT 1 FROM @runs r WHERE r.id = run_id AND r.ended IS NULL)"
    )
    session.run(ASK, (session.now(), run_id.hex))

    return bool(session.all("SELECT 1 FROM @requests WHERE run_id = ?", (run_id.hex,)))


def select_runs(session: Session, codec: Codec, query: RunQuery) -> list[RunRow]:
    """Give the runs that are asked for."""
    conditions, values = _where(
        ("run_type = ?", query.run_type),
        ("name = ?", query.name),
        ("parent_run_id = ?", query.parent_run_id and query.parent_run_id.hex),
        ("keeper = ?", query.keeper),
        ("created >= ?", query.since and micros(query.since)),
        ("id >= ?", query.since and _id_floor(query.since)),
    )
    if query.flow_run_id is not None:
        conditions.append(OF_FLOW)
        values += [query.flow_run_id.hex] * 2
    if query.definition is not None:
        condition, value = session.glob("definition", query.definition)
        conditions.append(condition)
        values.append(value)
    if query.id_part is not None:
        _add_id_part(conditions, values, "id", query.id_part)
    if query.unfinished:
        conditions.append("ended IS NULL")
    if query.keeper == "":
        # In the words of the index, which a `?` cannot match.
        conditions.append("keeper = ''")
    if query.top:
        conditions.append("parent_run_id IS NULL")
    _add_states(conditions, values, query)
    text = f"SELECT * FROM @runs{_and(conditions)} ORDER BY id DESC LIMIT ?"  # noqa: S608 - fixed text

    return [codec.run_in(row) for row in session.all(text, (*values, query.limit))]


def select_deliveries(session: Session, codec: Codec, query: DeliveryQuery) -> list[DeliveryRow]:
    """Give the deliveries that are asked for."""
    conditions, values = _where(
        ("d.id = ?", query.id and query.id.hex),
        ("d.run_id = ?", query.run_id and query.run_id.hex),
        ("r.keeper = ?", query.keeper),
    )
    if query.statuses:
        conditions.append(f"d.status IN ({_marks(len(query.statuses))})")
        values += map(str, query.statuses)
        if DeliveryStatus.DELIVERED not in query.statuses:
            # Said once more in the words of the index, which a `?` cannot match.
            conditions.append("d.status <> 'delivered'")
    if query.hook is not None:
        condition, value = session.glob("d.hook", query.hook)
        conditions.append(condition)
        values.append(value)
    if query.id_part is not None:
        _add_id_part(conditions, values, "d.id", query.id_part)
    columns = ", ".join(f"d.{one}" for one in DeliveryRow._fields)
    # Of one run in the order of its events, then in the order of declaration.
    order = ("d.run_id", "e.sequence", "d.ordinal", "d.id")
    way = " DESC" if query.newest else ""
    text = (
        f"SELECT {columns} FROM @deliveries d"  # noqa: S608 - fixed text
        " LEFT JOIN @runs r ON r.id = d.run_id LEFT JOIN @events e"
        " ON e.run_id = d.run_id AND e.id = d.event_id"
        f"{_and(conditions)} ORDER BY {', '.join(one + way for one in order)} LIMIT ?"
    )

    return [codec.delivery_in(row) for row in session.all(text, (*values, query.limit))]


def _id_floor(since: datetime) -> str:
    """Give what no id of a run of that time or later is below, so that older ones are not read.

    A run's id is made when the run is, and begins with the time in milliseconds; a day is spared
    for clocks that are not one.
    """
    moment = max(0, micros(since - timedelta(days=1)) // 1000)

    return f"{moment:012x}{0:020x}"


def _add_id_part(conditions: list[str], values: list[Any], column: str, part: str) -> None:
    digits = f"replace(CAST({column} AS TEXT), '-', '')"
    conditions.append(f"({digits} LIKE ? OR {digits} LIKE ?)")
    values += [f"{part}%", f"%{part}"]


def _add_states(conditions: list[str], values: list[Any], query: RunQuery) -> None:
    wanted = {"state_type": [*map(str, query.state_types)], "state_name": [*query.state_names]}
    if any(wanted.values()):
        either = [f"{key} IN ({_marks(len(some))})" for key, some in wanted.items() if some]
        conditions.append(f"({' OR '.join(either)})")
        values += [one for some in wanted.values() for one in some]
    if query.state_types and not query.state_names and StateType.COMPLETED not in query.state_types:
        # In the words of the index, which a `?` cannot match.
        conditions.append("state_type <> 'COMPLETED'")


def _where(*given: tuple[str, Any]) -> tuple[list[str], list[Any]]:
    wanted = [one for one in given if one[1] is not None]

    return [text for text, _ in wanted], [value for _, value in wanted]


def _and(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""
