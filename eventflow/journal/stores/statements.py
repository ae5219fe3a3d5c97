"""The SQL statements of the journal, for all databases.

`@` stands before the name of a table, `?` for a value and EACH for one or more rows of values; a
session replaces them as its database needs.
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
    "RUN",
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
    """A connection in use: it runs statements in the dialect of its database."""

    for_share: str
    """Locks the rows that were read against changes until the transaction ends."""
    for_update: str
    """Locks the rows `r` that were read, without those that others have locked."""
    except_last_event: str
    """Excludes the run `r` of the last event, where a place is reused once its event is deleted."""

    def all(self, text: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        ...

    def run(self, text: str, values: Sequence[Any] = ()) -> int:
        """Run a statement; return how many rows it changed."""
        ...

    def many(self, text: str, width: int, values: Sequence[Any]) -> None:
        """Run a statement for rows whose values follow each other, with many of them for EACH."""
        ...

    def use_snapshot(self) -> None:
        """Read from one snapshot until the transaction ends."""
        ...

    def now(self) -> int:
        """Return the time by the clock of the database, in microseconds since 1970."""
        ...

    def glob(self, column: str, pattern: str) -> tuple[str, str]:
        """Return a condition that a text matches a glob, and the value for it."""
        ...


def _marks(count: int) -> str:
    return ", ".join("?" * count)


OWED_LIST: Final = "('" + "', '".join(OWED) + "')"
EVENT_COLUMNS: Final = ", ".join(EventRow._fields)
RUN_COLUMNS: Final = ", ".join(RunRow._fields)
_FIXED: Final = frozenset({"id", "run_type", "owner", "created", "parent_run_id", "flow_run_id"})
_CHANGING: Final = [name for name in RunRow._fields if name not in _FIXED]
_NEWER: Final = ", ".join(
    # A recovery does not know them: it goes on with what the run's own owner has recorded.
    f"{name} = coalesce(excluded.{name}, @runs.{name})"
    if name.endswith("hooks")
    else f"{name} = excluded.{name}"
    for name in _CHANGING
)

# A late row never replaces a newer one.
PUT_RUN: Final = (
    f"INSERT INTO @runs ({RUN_COLUMNS}, keeper) VALUES EACH"  # noqa: S608 - fixed text
    f" ON CONFLICT (id) DO UPDATE SET {_NEWER}"
    " WHERE excluded.sequence >= @runs.sequence"
)
PUT_EVENT: Final = f"INSERT INTO @events ({EVENT_COLUMNS}) VALUES EACH ON CONFLICT DO NOTHING"  # noqa: S608 - fixed text
# A delivered delivery stays delivered, whatever is written later.
_SETTLED: Final = (
    "status = excluded.status, attempts = excluded.attempts, due = excluded.due,"
    " error = excluded.error, updated = excluded.updated WHERE @deliveries.status <> 'delivered'"
)
# An existing delivery is updated only by one that was settled: it may have been written before
# without its outcome.
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
_AGAIN: Final = ", ".join(f"{name} = excluded.{name}" for name in OwnerRow._fields if name != "id")
PUT_OWNER: Final = (
    f"INSERT INTO @owners VALUES ({_marks(len(OwnerRow._fields))})"  # noqa: S608 - fixed text
    f" ON CONFLICT (id) DO UPDATE SET {_AGAIN}"
)
UNKEPT: Final = "NOT EXISTS (SELECT 1 FROM @owners o WHERE o.id = {}.keeper AND o.ended IS NULL)"
# Two narrow indexes find unfinished runs and owed hooks; of these, the runs without a live keeper.
CLAIMABLE: Final = (
    "SELECT r.id FROM @runs r WHERE r.id IN ("  # noqa: S608 - fixed text
    "SELECT id FROM @runs WHERE ended IS NULL"
    f" UNION SELECT run_id FROM @deliveries WHERE status IN {OWED_LIST} AND status <> 'delivered')"
    f" AND {UNKEPT.format('r')}"
)
RUN: Final = f"SELECT {RUN_COLUMNS} FROM @runs WHERE id = ?"  # noqa: S608 - fixed text
TAKE: Final = f"UPDATE @runs SET keeper = ? WHERE id = ? AND {UNKEPT.format('@runs')}"  # noqa: S608 - fixed text

# The flow run and the runs below it, found by the only index for this: that of the parents.
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
    """Check that a fence is in force, and keep it so until the transaction ends.

    Raises:
        StaleOwnerError: it is not.
    """
    if fence is None:
        return
    text = f"SELECT 1 FROM @owners WHERE id = ? AND token = ? AND ended IS NULL{session.for_share}"  # noqa: S608 - fixed text
    if not session.all(text, (fence.owner, fence.token)):
        raise StaleOwnerError(fence.owner, fence.token)


def settle(session: Session, settlement: Settlement, fence: Fence | None) -> None:
    """Settle a delivery at the end of a hook's own transaction.

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
    """Add or replace an owner, with the next token unless one is given; return the token."""
    if token is None:
        session.run("UPDATE @meta SET value = value + 1 WHERE name = 'token'")
        token = int(session.all("SELECT value FROM @meta WHERE name = 'token'")[0][0])
    else:
        session.run("UPDATE @meta SET value = ? WHERE name = 'token' AND value < ?", (token, token))
    lease = None if lease_seconds is None else session.now() + int(lease_seconds * 1e6)
    session.run(PUT_OWNER, (*owner_out(owner), token, lease, None, None))

    return token


def end_owner(session: Session, owner: str, reason: str, *, only_lapsed: bool) -> bool:
    """Mark an owner as ended; return False if nothing was changed."""
    now = session.now()
    lapsed = f" AND lease_until < {now}" if only_lapsed else ""
    text = f"UPDATE @owners SET ended = ?, reason = ? WHERE id = ? AND ended IS NULL{lapsed}"  # noqa: S608 - a number

    return session.run(text, (now, reason, owner)) == 1


def claim(
    session: Session, codec: Codec, fence: Fence, limit: int, owner: str | None
) -> list[RunRow]:
    """Become the keeper of runs that have no live one.

    Raises:
        StaleOwnerError: the fence is no longer in force.
    """
    check(session, fence)
    conditions, values = _where(("r.owner = ?", owner))
    text = " AND ".join([CLAIMABLE, *conditions]) + f" ORDER BY r.id LIMIT ?{session.for_update}"
    # TAKE checks the keeper once more: another process may have claimed a run after the snapshot of
    # the query.
    claimed = [
        run_id
        for (run_id,) in session.all(text, (*values, limit))
        if session.run(TAKE, (fence.owner, run_id))
    ]

    return [codec.run_in(row) for run_id in claimed for row in session.all(RUN, (run_id,))]


def redrive(session: Session, delivery_ids: Iterable[UUID]) -> int:
    """Make dead deliveries pending again; return how many."""
    text = "SELECT run_id, id FROM @deliveries WHERE id = ? AND status = 'dead'"
    dead = [row for key in set(delivery_ids) for row in session.all(text, (key.hex,))]
    for run_id, delivery_id in dead:
        session.run(
            "UPDATE @deliveries SET status = 'pending', attempts = 0, due = NULL WHERE id = ?",
            (delivery_id,),
        )
        # A live keeper does not check again whether a run that has ended owes hooks.
        session.run("UPDATE @runs SET keeper = '' WHERE ended IS NOT NULL AND id = ?", (run_id,))

    return len(dead)


ASK: Final = (
    "INSERT INTO @requests SELECT id, ? FROM @runs WHERE id = ? AND ended IS NULL"
    " ON CONFLICT DO NOTHING"
)
ASKED: Final = (
    "SELECT q.run_id FROM @requests q JOIN @runs r ON r.id = q.run_id"
    " WHERE r.owner = ? AND r.ended IS NULL ORDER BY q.run_id"
)


def ask_cancel(session: Session, run_id: UUID) -> bool:
    """Request a run's cancellation; return False if there is no such unfinished run."""
    # Here, and not at the end of each run, as requests are few.
    session.run(
        "DELETE FROM @requests WHERE NOT EXISTS"
        " (SELECT 1 FROM @runs r WHERE r.id = run_id AND r.ended IS NULL)"
    )
    session.run(ASK, (session.now(), run_id.hex))

    return bool(session.all("SELECT 1 FROM @requests WHERE run_id = ?", (run_id.hex,)))


def select_runs(session: Session, codec: Codec, query: RunQuery) -> list[RunRow]:
    """Return the runs that match."""
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
    text = f"SELECT {RUN_COLUMNS} FROM @runs{_and(conditions)} ORDER BY id DESC LIMIT ?"  # noqa: S608 - fixed text

    return [codec.run_in(row) for row in session.all(text, (*values, query.limit))]


def select_deliveries(session: Session, codec: Codec, query: DeliveryQuery) -> list[DeliveryRow]:
    """Return the deliveries that match."""
    conditions, values = _where(
        ("d.id = ?", query.id and query.id.hex),
        ("d.run_id = ?", query.run_id and query.run_id.hex),
        ("r.keeper = ?", query.keeper),
    )
    if query.statuses:
        conditions.append(f"d.status IN ({_marks(len(query.statuses))})")
        values += map(str, query.statuses)
        if DeliveryStatus.DELIVERED not in query.statuses:
            # In the words of the index, which a `?` cannot match.
            conditions.append("d.status <> 'delivered'")
    if query.hook is not None:
        condition, value = session.glob("d.hook", query.hook)
        conditions.append(condition)
        values.append(value)
    if query.id_part is not None:
        _add_id_part(conditions, values, "d.id", query.id_part)
    columns = ", ".join(f"d.{name}" for name in DeliveryRow._fields)
    # For each run in the order of its events, then in the order of declaration.
    order = ("d.run_id", "e.sequence", "d.ordinal", "d.id")
    direction = " DESC" if query.newest else ""
    text = (
        f"SELECT {columns} FROM @deliveries d"  # noqa: S608 - fixed text
        " LEFT JOIN @runs r ON r.id = d.run_id LEFT JOIN @events e"
        " ON e.run_id = d.run_id AND e.id = d.event_id"
        f"{_and(conditions)} ORDER BY {', '.join(column + direction for column in order)} LIMIT ?"
    )

    return [codec.delivery_in(row) for row in session.all(text, (*values, query.limit))]


def _id_floor(since: datetime) -> str:
    """Return a lower bound for the ids of runs of that time or later, so that no others are read.

    A run's id is made with the run, and begins with the time in milliseconds; one day is subtracted
    for clocks that differ.
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
        matches = [f"{key} IN ({_marks(len(words))})" for key, words in wanted.items() if words]
        conditions.append(f"({' OR '.join(matches)})")
        values += [word for words in wanted.values() for word in words]
    if query.state_types and not query.state_names and StateType.COMPLETED not in query.state_types:
        # In the words of the index, which a `?` cannot match.
        conditions.append("state_type <> 'COMPLETED'")


def _where(*given: tuple[str, Any]) -> tuple[list[str], list[Any]]:
    used = [(text, value) for text, value in given if value is not None]

    return [text for text, _ in used], [value for _, value in used]


def _and(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""
