"""Migrating the schema, pruning, verification, and the statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from eventflow.hooks.ledger import LASTED, WORKERS
from eventflow.journal.history import Transition, transitions_of
from eventflow.journal.records import COUNTED, Settled, state_words
from eventflow.journal.rows import Finding, Statistics, StoredRun
from eventflow.journal.stores.queries.deliveries import all_runs, deliveries_of
from eventflow.journal.stores.queries.runs import Where
from eventflow.journal.stores.schema import VERSION, check_version, statements_after
from eventflow.journal.stores.statements import (
    FROM_RUNS,
    KEEPER,
    LEFT,
    LEFT_TO_OWNERS,
    LIVE,
    NUMBER_BITS,
    OWING,
    Session,
)
from eventflow.primitives.ids import id_of
from eventflow.states import ENDING, StateType

__all__ = [
    "CHUNK",
    "CLOCKS_MS",
    "EVER",
    "Deleted",
    "claim_pruning",
    "delete_owner",
    "delete_runs",
    "findings",
    "forget_shared",
    "idle_owners",
    "is_due",
    "migrate",
    "statistics",
]

MICROSECOND: Final = timedelta(microseconds=1)

EVER: Final = 2**62
"""Later than any moment, in microseconds since 1970."""

CLOCKS_MS: Final = 24 * 3600 * 1000
"""How much the clocks may differ that the ids of runs, and other times, are from."""

CHUNK: Final = 5000
"""How many runs are looked at in one transaction, so that others can write in between."""

# -- the schema ---------------------------------------------------------------------------------


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


# -- pruning -------------------------------------------------------------------------------------

# In the order of ids, which begin with the time when a run was made.
DELETABLE: Final = (
    f"r.id > ? AND r.id <= ? AND r.ended < ? AND NOT coalesce({OWING}, 1 = 0)"
    f" AND r.id NOT IN ({LEFT})"
)
IDLE_OWNERS: Final = (
    "SELECT id FROM @owners o WHERE ended < ? AND number NOT IN"
    f" (SELECT DISTINCT definition / {1 << NUMBER_BITS} FROM @runs)"
    " AND NOT EXISTS (SELECT 1 FROM @runs WHERE keeper = o.id)"
)


class Deleted(NamedTuple):
    """How many runs, events and deliveries were deleted, and the last id that was looked at."""

    runs: int
    events: int
    deliveries: int
    last: int


def is_due(session: Session, every: timedelta) -> bool:
    """Return whether the last pruning is long enough ago, or in the future after a clock change."""
    last = int(session.all("SELECT value FROM @meta WHERE name = 'pruned'")[0][0])

    return not 0 <= session.now() - last < every // MICROSECOND


def claim_pruning(session: Session, every: timedelta) -> bool:
    """Store the time of this pruning; return False if another process has just done so."""
    now = session.now()
    text = "UPDATE @meta SET value = ? WHERE name = 'pruned' AND (value <= ? OR value > ?)"

    return session.run(text, (now, now - every // MICROSECOND, now)) == 1


def delete_runs(session: Session, after: int, before: int, limit: int) -> Deleted:
    """Look at so many runs behind an id; delete what ended before a moment and owes nothing."""
    first = session.id(after)
    ids = f"SELECT id FROM @runs WHERE id > ? ORDER BY id LIMIT {limit}"
    rows = session.all(f"SELECT id FROM ({ids}) r ORDER BY id DESC LIMIT 1", (first,))
    if not rows:
        return Deleted(0, 0, 0, 0)
    last = rows[0][0]
    values = (first, last, before)
    found = counts(session, DELETABLE, values)
    if found.runs:
        session.run(f"DELETE FROM @runs AS r WHERE {DELETABLE}", values)
        for table in ("@deliveries", "@parts", "@logs", "@logged"):
            session.run(
                f"DELETE FROM {table} WHERE run_id > ? AND run_id <= ?"
                " AND NOT EXISTS (SELECT 1 FROM @runs r WHERE r.id = run_id)",
                (first, last),
            )

    return Deleted(found.runs, found.events, found.deliveries.total(), session.number(last))


# What runs share, and which owners may tell it again.
_SHARED: Final = (
    ("@definitions", f"AND number = @definitions.id / {1 << NUMBER_BITS}"),
    ("@hook_sets", "AND id = @hook_sets.owner"),
    ("@hook_lists", ""),
)


def forget_shared(session: Session) -> None:
    """Delete the definitions, and the lists and sets of hooks, that no run refers to any more.

    All runs that do are older than when these were closed.
    """
    now = session.now()
    oldest = session.all("SELECT created FROM @runs ORDER BY id LIMIT 1")
    before = oldest[0][0] - CLOCKS_MS * 1000 if oldest else EVER
    for table, whose in _SHARED:
        since = f"SELECT min(since) FROM @owners WHERE ended IS NULL {whose}"
        session.run(
            f"UPDATE {table} SET closed = ? WHERE closed IS NULL AND told < coalesce(({since}), ?)",
            (now, now),
        )
        session.run(f"DELETE FROM {table} WHERE closed < ?", (before,))


def idle_owners(session: Session, before: int) -> list[tuple[Any, ...]]:
    """Return the keys of the owners that ended before a moment and that no run names."""
    ended = "SELECT count(*) FROM @owners WHERE ended < ?"
    if not session.all(ended, (before,))[0][0]:
        return []

    return session.all(IDLE_OWNERS, (before,))


def delete_owner(session: Session, key: Sequence[Any]) -> int:
    """Delete an owner if it has ended, and what it recorded; return how many were deleted."""
    if not session.all("SELECT 1 FROM @owners WHERE id = ? AND ended IS NOT NULL", key):
        return 0
    session.run("DELETE FROM @hook_sets WHERE owner = ?", key)
    session.run(
        f"DELETE FROM @definitions WHERE id / {1 << NUMBER_BITS} ="
        " (SELECT number FROM @owners WHERE id = ?)",
        key,
    )

    return session.run("DELETE FROM @owners WHERE id = ?", key)


# -- verification --------------------------------------------------------------------------------

ABANDONED: Final = (
    f"SELECT r.id, r.name, {KEEPER.format('r')} {FROM_RUNS}"
    f" WHERE r.ended IS NULL AND NOT {LIVE.format('r')}"
)
# After a redrive a run has no keeper until an owner claims it.
UNATTENDED: Final = (
    f"SELECT r.id, r.name, {KEEPER.format('r')} {FROM_RUNS} WHERE r.ended IS NOT NULL"
    f" AND ({OWING} OR r.id IN ({LEFT_TO_OWNERS})) AND coalesce(r.keeper, '-') <> ''"
    f" AND NOT {LIVE.format('r')}"
)
ORPHANS: Final = (
    "SELECT run_id, hook, sequence FROM @deliveries WHERE run_id NOT IN (SELECT id FROM @runs)"
)
ORPHAN_LINES: Final = (
    "SELECT run_id, count FROM @logged WHERE run_id NOT IN (SELECT id FROM @runs)"
    " UNION SELECT run_id, 0 FROM @logs WHERE run_id NOT IN (SELECT run_id FROM @logged)"
)
ODD_LINES: Final = (
    "SELECT l.run_id, max(l.sequence), min(k.count) FROM @logs l JOIN @logged k"
    " ON k.run_id = l.run_id GROUP BY l.run_id HAVING max(l.sequence) > min(k.count)"
)
CHECKS: Final = (
    (ABANDONED, "abandoned", "{!r} has no end, and its keeper {!r} has ended"),
    (UNATTENDED, "unattended", "{!r} owes hooks, and its keeper {!r} has ended"),
    (ORPHANS, "orphan delivery", "is not known, but owes {} its transition {}"),
    (ORPHAN_LINES, "orphan lines", "is not known, but has logged {} lines"),
    (ODD_LINES, "odd lines", "has a line {} of the {} that it has logged"),
)
"""Each query with the kind of its findings, and their message, formatted with its other columns."""


def findings(session: Session) -> list[Finding]:
    """Return everything that is wrong in the journal."""
    session.use_snapshot()
    born = int(session.all("SELECT value FROM @meta WHERE name = 'born'")[0][0])
    found = [
        Finding(kind, id_of(session.number(key)), message.format(*rest))
        for query, kind, message in CHECKS
        for key, *rest in session.all(query)
    ]
    for run, settled in all_runs(session, Where(session)):
        events = transitions_of(run)
        for kind, message in (
            *_odd_events(run, events, born),
            *_odd_run(run, events),
            *_odd_deliveries(run, events, session, settled),
        ):
            found.append(Finding(kind, id_of(run.id), message))

    return found


def _odd_events(
    run: StoredRun, events: Sequence[Transition], born: int
) -> Iterator[tuple[str, str]]:
    sequences = [event.sequence for event in events]
    first, last = (sequences[0], sequences[-1]) if sequences else (0, None)
    if last != run.sequence:
        yield "behind", f"stands at sequence {run.sequence}, but its last event is {last}"
    # A journal that was lost and created again may begin in the middle of a run.
    elif sequences != [*range(first, run.sequence + 1)] or (first and run.created >= born):
        yield "gap", f"has {len(events)} events of those up to sequence {last}"


def _odd_run(run: StoredRun, events: Sequence[Transition]) -> Iterator[tuple[str, str]]:
    kind, name = state_words(run.state)
    if events and events[-1].state != run.state:
        yield "odd run", f"is in state {name}, but its last event is {events[-1].state}"
    # NotReady, which is of type Pending, ends a run as well.
    ends = kind in ENDING or (kind is StateType.PENDING and name == "NotReady")
    if kind in ENDING and run.ended is None:
        yield "odd run", f"is in state {name}, without an end"
    if not ends and run.ended is not None:
        yield "odd run", f"is in state {name}, but has an end"
    if run.definition is None:
        yield "unknown definition", "is of a definition that is not known"


def _odd_deliveries(
    run: StoredRun, events: Sequence[Transition], session: Session, settled: Sequence[Settled]
) -> Iterator[tuple[str, str]]:
    owed, begun, done = (run.acks or bytes(3))[:3]
    listed = [event for event in events if event.owed_to]
    counts = {event.sequence: len(session.hooks_of(event.owed_to)) for event in listed}
    workers = {event.sequence: len(session.workers_of(event.owed_to)) for event in listed}
    unknown = [each for each in listed if not counts[each.sequence] + workers[each.sequence]]
    for event in unknown:
        yield "unknown list", f"owes the hooks of {event.owed_to}, which is not known"
    known = counts.get(run.sequence, 0)
    if not done <= begun <= owed or (owed != min(known, COUNTED) and not unknown):
        yield "odd delivery", f"owes {owed} of {known} hooks, of which {begun} began, {done} ended"
    places = {(row.sequence, row.ordinal) for row in settled}
    for sequence, count in workers.items():
        if not places.issuperset((sequence, WORKERS + place) for place in range(count)):
            yield "lost delivery", f"owes workers a transition {sequence} without a delivery"
    entered = {event.sequence for event in events}
    for row in settled:
        # What has lasted may be any state that was entered.
        has_lasted = row.ordinal >= LASTED and row.sequence in entered
        if not has_lasted and row.ordinal >= counts.get(row.sequence, 0):
            yield "orphan delivery", f"owes {row.hook} a transition {row.sequence} of no such list"
        if not _is_possible(row):
            yield "odd delivery", f"owes {row.hook} as {row.status} after {row.attempts} attempts"


def _is_possible(row: Settled) -> bool:
    # A redriven delivery is pending and has been settled before; a dead one may never have begun.
    if row.status == "pending":
        return row.attempts == 0
    if row.status == "dead":
        return row.updated is not None

    return row.status in {"running", "failed", "delivered"} and row.attempts > 0


# -- statistics ----------------------------------------------------------------------------------


class Counts(NamedTuple):
    """How many runs there are, and how many events and deliveries they have."""

    runs: int
    events: int
    deliveries: Counter[str]


def counts(session: Session, condition: str, values: Sequence[Any]) -> Counts:
    """Count the runs `r` that meet a condition, their events, and their deliveries by status."""
    first = session.place("@", "r.events")
    second = session.place("@", f"substr(r.events, {first} + 1)")
    # Of most runs the acknowledgement says it all.
    special = (
        f"({first} > 0 AND (r.acks IS NULL OR {second} > 0)"
        " OR r.id IN (SELECT run_id FROM @deliveries UNION SELECT run_id FROM @parts))"
    )
    text = (
        f"SELECT {special}, substr(r.acks, 1, 3), count(*), sum(r.sequence + 1) FROM @runs r"
        f" WHERE {condition} GROUP BY 1, 2"
    )
    runs = events = 0
    deliveries: Counter[str] = Counter()
    special_runs = False
    for is_special, acks, count, transitions in session.all(text, values):
        runs, events = runs + int(count), events + int(transitions)
        special_runs |= bool(is_special)
        owed, begun, done = (0, 0, 0) if is_special or acks is None else acks
        deliveries["delivered"] += done * count
        deliveries["running"] += (begun - done) * count
        deliveries["pending"] += (owed - begun) * count
    if special_runs:
        where = Where(session)
        where.add(condition, *values)
        where.add(special)
        for run, settled in all_runs(session, where):
            deliveries.update(str(row.status) for row in deliveries_of(session, run, settled))

    return Counts(runs, events, +deliveries)


def statistics(session: Session, size: int) -> Statistics:
    """Count the rows of every kind."""

    def count(what: str) -> int:
        return int(session.all(f"SELECT count(*) FROM {what}")[0][0])

    found = counts(session, "1 = 1", ())

    return Statistics(
        runs=found.runs,
        unfinished=count("@runs WHERE ended IS NULL"),
        events=found.events,
        deliveries=dict(sorted(found.deliveries.items())),
        owners=count("@owners"),
        alive=count("@owners WHERE ended IS NULL"),
        size=size,
        schema=VERSION,
    )
