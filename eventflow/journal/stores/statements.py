"""The SQL statements of the journal, for all databases.

`@` stands before the name of a table, `?` for a value and EACH for one or more rows of values; a
session replaces them as its database needs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final
from uuid import UUID

from pydantic_core import from_json

from eventflow.hooks.ledger import OWED, WORKERS
from eventflow.journal.claims import Claim, ClaimLostError
from eventflow.journal.contract import Fence, StaleOwnerError
from eventflow.journal.rows import OwnerRow, StoredRun, owner_out
from eventflow.primitives.ids import delivery_id

__all__ = [
    "ASKED",
    "FROM_RUNS",
    "IS_OF",
    "KEEPER",
    "LEFT",
    "LEFT_TO_OWNERS",
    "LIVE",
    "NUMBER_BITS",
    "OWED_LIST",
    "OWING",
    "OWNER",
    "RUN",
    "SETTLED",
    "STORED",
    "Session",
    "around",
    "ask_cancel",
    "check",
    "claim",
    "end_owner",
    "put_owner",
    "redrive",
    "stored",
]


LISTS: Final = 10_000
"""How many lists of hooks are kept in memory."""


class Session(ABC):
    """A connection in use: it runs statements in the dialect of its database."""

    FOR_SHARE: ClassVar = ""
    """Locks the rows that were read against changes until the transaction ends."""
    FOR_UPDATE: ClassVar = ""
    """Locks the rows `r` that were read, without those that others have locked."""
    FOR_UPDATE_OF: ClassVar = ""
    """The same for the rows of a table that is named."""
    FOR_CHANGE: ClassVar = ""
    """Locks the rows that were read for changes by this transaction, once others have ended."""
    SIZES: ClassVar[Sequence[int]]
    """How many rows one statement writes, largest first."""
    FILL: ClassVar = 1.0
    """From which part of such a size on it is filled up with the last row, written again."""
    MOST: ClassVar = 30_000
    """How many values a statement can have."""
    HEX: ClassVar[str]
    """The hex digits of an id."""
    PLACE: ClassVar[str]
    """The first place of bytes, in hex digits, in other bytes; 0 if they are not there."""
    TEXT: ClassVar[str]
    """Bytes as a text, whatever they are."""

    lists: dict[str, Any]
    """The hooks of each list that was read, kept by the journal: a list never changes."""

    @abstractmethod
    def execute(self, text: str, values: Sequence[Any] | Mapping[str, Any]) -> Any:
        """Execute a statement; return its cursor."""

    @abstractmethod
    def id(self, number: int) -> Any:
        """Return an id as the database has it."""

    @abstractmethod
    def number(self, value: Any) -> int:
        """Return the number of an id that the database returned."""

    @abstractmethod
    def now(self) -> int:
        """Return the time by the clock of the database, in microseconds since 1970."""

    @abstractmethod
    def glob(self, column: str, pattern: str) -> tuple[str, str]:
        """Return a condition that a text matches a glob, and the value for it."""

    def use_snapshot(self) -> None:  # noqa: B027 - not for all
        """Read from one snapshot until the transaction ends."""

    def all(
        self, text: str, values: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        return list(self.execute(text, values).fetchall())

    def run(self, text: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> int:
        """Run a statement; return how many rows it changed."""
        return int(self.execute(text, values).rowcount)

    def many(self, text: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement for rows, with many of them for EACH."""
        left = [*rows]
        for size in self.SIZES:
            while left and len(left) >= size * self.FILL and size * len(left[0]) <= self.MOST:
                some, left = left[:size], left[size:]
                some += some[-1:] * (size - len(some))
                row = f"({', '.join('?' * len(some[0]))})"
                values = [value for each in some for value in each]
                self.execute(text.replace("EACH", ", ".join([row] * size)), values)

    def hooks_of(self, key: str) -> Sequence[tuple[str, int]]:
        """Return identity and importability of the hooks of a list; none if it is not known.

        Without those that workers run.
        """
        return self._list(key)[0]

    def workers_of(self, key: str) -> Sequence[tuple[str, int]]:
        """Return identity and importability of those that workers run."""
        return self._list(key)[1]

    def _list(self, key: str) -> tuple[Sequence[tuple[str, int]], Sequence[tuple[str, int]]]:
        if key not in self.lists:
            if len(self.lists) >= LISTS:
                self.lists.clear()
            for (text,) in self.all("SELECT hooks FROM @hook_lists WHERE id = ?", (key,)):
                own: list[tuple[str, int]] = []
                workers: list[tuple[str, int]] = []
                for hook, importable, *mark in from_json(text):
                    (workers if mark else own).append((hook, int(importable)))
                self.lists[key] = own, workers
        found: tuple[Sequence[tuple[str, int]], Sequence[tuple[str, int]]]
        found = self.lists.get(key, ((), ()))

        return found

    def hex(self, expression: str) -> str:
        """Return the expression for the hex digits of an id."""
        return self.HEX.format(expression)

    def place(self, text: str, expression: str) -> str:
        """Return the expression for the first place of a text in bytes, 0 if it is not there."""
        return self.PLACE.format(text.encode().hex(), expression)

    def text(self, expression: str) -> str:
        """Return the expression for bytes as a text, whatever they are."""
        return self.TEXT.format(expression)


OWED_LIST: Final = "('" + "', '".join(OWED) + "')"
NUMBER_BITS: Final = 30
"""The id of a definition is the number of its owner, and then its own number of so many bits."""
# The owner of the run `r`, whether a run is of the owner `?`, and whether its keeper is alive.
_OF: Final = f"{{0}}.definition / {1 << NUMBER_BITS}"
OWNER_OF: Final = f"(SELECT w.id FROM @owners w WHERE w.number = {_OF})"
IS_OF: Final = f"{_OF} = (SELECT number FROM @owners WHERE id = ?)".format("r")
KEEPER: Final = f"coalesce({{0}}.keeper, {OWNER_OF})"
LIVE: Final = f"EXISTS (SELECT 1 FROM @owners o WHERE o.ended IS NULL AND o.id = {KEEPER})"
# In the words of the index; the same without one is true of a run that owes nothing.
OWING: Final = "substr(acks, 1, 1) <> substr(acks, 3, 1)"
LEFT: Final = (
    f"SELECT run_id FROM @deliveries WHERE status <> 'delivered' AND status IN {OWED_LIST}"
)
# The same without what workers run, whoever is the keeper.
LEFT_TO_OWNERS: Final = f"{LEFT} AND ordinal < {WORKERS}"
STORED: Final = (
    "r.id, r.parent, r.keeper, r.created, r.ended, r.state, r.sequence, r.acks, r.name, r.facts,"
    f" r.events, {OWNER_OF.format('r')}, d.run_type, d.name, d.reference, d.version, d.tags,"
    " d.hooks, d.global_hooks, d.retries"
)
"""The columns of a `StoredRun`."""
_EVENTS: Final = StoredRun._fields.index("events")
PARTS_AT_ONCE: Final = 500
"""Of how many runs the events that are not in their row are read by one statement."""
FROM_RUNS: Final = "FROM @runs r LEFT JOIN @definitions d ON d.id = r.definition"
RUN: Final = f"SELECT {STORED} {FROM_RUNS} WHERE r.id = ?"
SETTLED: Final = (
    "SELECT run_id, sequence, ordinal, hook, importable, status, attempts, updated, due, error"
    " FROM @deliveries"
)


def stored(session: Session, text: str, values: Sequence[Any]) -> list[StoredRun]:
    """Return the runs that a query of `STORED` finds, with all their events."""
    rows = session.all(text, values)
    # The events of most runs are all in their row: those begin with the first one.
    keys = [row[0] for row in rows if row[_EVENTS][:1] in {b"!", b"+"}]
    before: dict[Any, bytes] = {}
    for start in range(0, len(keys), PARTS_AT_ONCE):
        some = keys[start : start + PARTS_AT_ONCE]
        marks = ", ".join("?" * len(some))
        found = f"SELECT run_id, events FROM @parts WHERE run_id IN ({marks}) ORDER BY 1, sequence"
        for key, events in session.all(found, some):
            before[key] = before.get(key, b"") + events + b"\n"

    return [_stored(session, row, before.get(row[0])) for row in rows]


def _stored(session: Session, row: Sequence[Any], before: bytes | None) -> StoredRun:
    key, parent, *rest = row
    run = StoredRun(session.number(key), None if parent is None else session.number(parent), *rest)

    return run if before is None else run._replace(events=before + run.events)


# -- owners --------------------------------------------------------------------------------------


HELD: Final = "SELECT 1 FROM @claims WHERE run_id = ? AND id = ? AND lease_until > ?"


def check(session: Session, fence: Fence | Claim | None) -> None:
    """Check that a fence or a claim is in force, and keep it so until the transaction ends.

    Raises:
        StaleOwnerError: the fence is not.
        ClaimLostError: the claim is not.
    """
    if fence is None:
        return
    if isinstance(fence, Claim):
        values = (session.id(fence.run_id.int), fence.id, session.now())
        if not session.all(f"{HELD}{session.FOR_CHANGE}", values):
            raise ClaimLostError(fence)
        return
    text = f"SELECT 1 FROM @owners WHERE id = ? AND token = ? AND ended IS NULL{session.FOR_SHARE}"
    if not session.all(text, (fence.owner, fence.token)):
        raise StaleOwnerError(fence.owner, fence.token)


_AGAIN: Final = ", ".join(f"{name} = excluded.{name}" for name in OwnerRow._fields if name != "id")
OWNER: Final = ", ".join(OwnerRow._fields)
PUT_OWNER: Final = (
    f"INSERT INTO @owners VALUES ({', '.join('?' * len(OwnerRow._fields))},"
    " (SELECT coalesce(max(number), 0) + 1 FROM @owners), ?, 0)"
    f" ON CONFLICT (id) DO UPDATE SET {_AGAIN}"
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
    now = session.now()
    lease = None if lease_seconds is None else now + int(lease_seconds * 1e6)
    session.run(PUT_OWNER, (*owner_out(owner), token, lease, None, None, now))

    return token


def end_owner(session: Session, owner: str, reason: str, *, only_lapsed: bool) -> bool:
    """Mark an owner as ended; return False if nothing was changed."""
    now = session.now()
    lapsed = f" AND lease_until < {now}" if only_lapsed else ""
    text = f"UPDATE @owners SET ended = ?, reason = ? WHERE id = ? AND ended IS NULL{lapsed}"

    return session.run(text, (now, reason, owner)) == 1


# Narrow indexes find unfinished runs and owed hooks; of these, the runs without a live keeper.
CLAIMABLE: Final = (
    f"SELECT r.id {FROM_RUNS} WHERE r.id IN (SELECT id FROM @runs WHERE ended IS NULL"
    f" UNION SELECT id FROM @runs WHERE {OWING} UNION {LEFT_TO_OWNERS}) AND NOT {LIVE.format('r')}"
)
TAKE: Final = f"UPDATE @runs SET keeper = ? WHERE id = ? AND NOT {LIVE.format('@runs')}"


def claim(session: Session, fence: Fence, limit: int, owner: str | None) -> list[StoredRun]:
    """Become the keeper of runs that have no live one.

    Raises:
        StaleOwnerError: the fence is no longer in force.
    """
    check(session, fence)
    of_owner, values = ("", ()) if owner is None else (f" AND {IS_OF}", (owner,))
    text = f"{CLAIMABLE}{of_owner} ORDER BY r.id LIMIT ?{session.FOR_UPDATE}"
    # TAKE checks the keeper once more: another process may have claimed a run after the snapshot of
    # the query.
    claimed = [
        key
        for (key,) in session.all(text, (*values, limit))
        if session.run(TAKE, (fence.owner, key))
    ]

    return [run for key in claimed for run in stored(session, RUN, (key,))]


# -- deliveries and requests ---------------------------------------------------------------------


def redrive(session: Session, delivery_ids: Iterable[UUID]) -> int:
    """Make dead deliveries pending again; return how many."""
    text = (
        "SELECT run_id, sequence, ordinal FROM @deliveries"
        " WHERE run_id BETWEEN ? AND ? AND status = 'dead'"
    )
    revived = 0
    for delivery in set(delivery_ids):
        for key, *place in session.all(text, [*map(session.id, around(delivery))]):
            if delivery_id(session.number(key), *place) == delivery:
                _revive(session, key, place)
                revived += 1

    return revived


def around(delivery: UUID) -> tuple[int, int]:
    """Return the first and the last id that its run may have: they are of the same millisecond."""
    first = delivery.int >> 80 << 80

    return first, first + (1 << 80) - 1


def _revive(session: Session, key: Any, place: Sequence[int]) -> None:
    session.run(
        "UPDATE @deliveries SET status = 'pending', attempts = 0, due = NULL, updated = ?"
        " WHERE run_id = ? AND sequence = ? AND ordinal = ?",
        (session.now(), key, *place),
    )
    if place[1] >= WORKERS:
        return
    # A live keeper does not check again whether a run that has ended owes hooks.
    session.run("UPDATE @runs SET keeper = '' WHERE ended IS NOT NULL AND id = ?", (key,))


ASK: Final = (
    "INSERT INTO @requests SELECT id, ? FROM @runs WHERE id = ? AND ended IS NULL"
    " ON CONFLICT DO NOTHING"
)
ASKED: Final = (
    "SELECT q.run_id FROM @requests q JOIN @runs r ON r.id = q.run_id"
    f" WHERE {IS_OF} AND r.ended IS NULL ORDER BY q.run_id"
)


def ask_cancel(session: Session, run_id: UUID) -> bool:
    """Request a run's cancellation; return False if there is no such unfinished run."""
    # Here, and not at the end of each run, as requests are few.
    session.run(
        "DELETE FROM @requests WHERE NOT EXISTS"
        " (SELECT 1 FROM @runs r WHERE r.id = run_id AND r.ended IS NULL)"
    )
    key = session.id(run_id.int)
    session.run(ASK, (session.now(), key))

    return bool(session.all("SELECT 1 FROM @requests WHERE run_id = ?", (key,)))
