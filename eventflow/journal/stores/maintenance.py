"""What pruning deletes, what verification looks for, and what the statistics count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import repeat
from typing import Any, Final

from eventflow.journal.contract import Finding, Statistics
from eventflow.journal.rows import Codec
from eventflow.journal.stores.schema import VERSION
from eventflow.journal.stores.statements import OWED_LIST, UNKEPT, Session
from eventflow.states import ENDING, StateType

__all__ = [
    "CHUNK",
    "EVER",
    "chunks",
    "claim_pruning",
    "delete_owner",
    "delete_runs",
    "findings",
    "idle_owners",
    "is_due",
    "statistics",
]

MICROSECOND: Final = timedelta(microseconds=1)

EVER: Final = 2**62
"""Later than any moment, in microseconds since 1970."""

CHUNK: Final = 500
"""How many runs are deleted in one transaction, so that others can write in between."""

# -- pruning -------------------------------------------------------------------------------------

DELETABLE: Final = (
    "SELECT r.id FROM @runs r WHERE r.ended < ? AND NOT EXISTS (SELECT 1 FROM @deliveries d"  # noqa: S608 - fixed text
    f" WHERE d.run_id = r.id AND d.status IN {OWED_LIST})"
)
IDLE_OWNERS: Final = (
    "SELECT id FROM @owners WHERE ended < ? AND id NOT IN"
    " (SELECT owner FROM @runs UNION SELECT keeper FROM @runs)"
)


def is_due(session: Session, every: timedelta) -> bool:
    """Return whether the last pruning is long enough ago, or in the future after a clock change."""
    last = int(session.all("SELECT value FROM @meta WHERE name = 'pruned'")[0][0])

    return not 0 <= session.now() - last < every // MICROSECOND


def claim_pruning(session: Session, every: timedelta) -> bool:
    """Store the time of this pruning; return False if another process has just done so."""
    now = session.now()
    text = "UPDATE @meta SET value = ? WHERE name = 'pruned' AND (value <= ? OR value > ?)"

    return session.run(text, (now, now - every // MICROSECOND, now)) == 1


def chunks(count: int) -> Iterator[int]:
    """Divide a number of runs into the numbers that are deleted in one transaction each."""
    yield from repeat(CHUNK, count // CHUNK)
    if count % CHUNK:
        yield count % CHUNK


def delete_runs(session: Session, before: int, limit: int) -> tuple[int, int, int]:
    """Delete runs that ended before a moment and owe nothing, the oldest first.

    Returns the number of deleted runs, events and deliveries.
    """
    text = f"{DELETABLE}{session.except_last_event} ORDER BY r.ended, r.id LIMIT ?"
    runs = session.all(text, (before, limit))
    deliveries = sum(session.run("DELETE FROM @deliveries WHERE run_id = ?", run) for run in runs)
    events = sum(session.run("DELETE FROM @events WHERE run_id = ?", run) for run in runs)
    for run in runs:
        session.run("DELETE FROM @runs WHERE id = ?", run)

    return len(runs), events, deliveries


def idle_owners(session: Session, before: int) -> list[tuple[Any, ...]]:
    """Return the keys of the owners that ended before a moment and that no run names."""
    ended = "SELECT count(*) FROM @owners WHERE ended < ?"
    if not session.all(ended, (before,))[0][0]:
        return []

    return session.all(IDLE_OWNERS, (before,))


def delete_owner(session: Session, key: Sequence[Any]) -> int:
    """Delete an owner if it has ended, and its sets of hooks; return how many were deleted."""
    deleted = session.run("DELETE FROM @owners WHERE id = ? AND ended IS NOT NULL", key)
    if deleted:
        session.run("DELETE FROM @hook_sets WHERE owner = ?", key)

    return deleted


# -- verification --------------------------------------------------------------------------------

GAPS: Final = (
    "SELECT e.run_id, min(e.sequence), max(e.sequence), count(*), min(r.created)"
    " FROM @events e JOIN @runs r ON r.id = e.run_id GROUP BY e.run_id"
    " HAVING count(*) <> max(e.sequence) + 1"
)
BEHIND: Final = (
    "SELECT r.id, r.sequence, max(e.sequence) FROM @runs r LEFT JOIN @events e ON e.run_id = r.id"
    " GROUP BY r.id, r.sequence HAVING max(e.sequence) IS NULL OR max(e.sequence) <> r.sequence"
)
ORPHAN_EVENTS: Final = (
    "SELECT e.run_id, count(*) FROM @events e WHERE NOT EXISTS"
    " (SELECT 1 FROM @runs r WHERE r.id = e.run_id) GROUP BY e.run_id"
)
ORPHAN_DELIVERIES: Final = (
    "SELECT d.run_id, d.hook FROM @deliveries d WHERE NOT EXISTS"
    " (SELECT 1 FROM @events e WHERE e.run_id = d.run_id AND e.id = d.event_id)"
)
ABANDONED: Final = (
    f"SELECT r.id, r.name, r.keeper FROM @runs r WHERE r.ended IS NULL AND {UNKEPT.format('r')}"  # noqa: S608 - fixed text
)
# After a redrive a run has no keeper until an owner claims it.
UNATTENDED: Final = (
    "SELECT d.run_id, d.hook, r.keeper FROM @deliveries d JOIN @runs r ON r.id = d.run_id"  # noqa: S608 - fixed text
    f" WHERE d.status IN {OWED_LIST} AND d.status <> 'delivered' AND r.ended IS NOT NULL"
    f" AND r.keeper <> '' AND {UNKEPT.format('r')}"
)
_ENDINGS: Final = "('" + "', '".join(sorted(ENDING)) + "')"
# NotReady, which is of type Pending, ends a run as well.
ODD_RUNS: Final = (
    f"SELECT id, state_name, ended IS NULL FROM @runs WHERE state_type IN {_ENDINGS}"  # noqa: S608 - fixed text
    f" AND ended IS NULL OR state_type NOT IN {_ENDINGS} AND ended IS NOT NULL"
    f" AND NOT (state_type = '{StateType.PENDING}' AND state_name = 'NotReady')"
)
# A redriven delivery is pending and has been settled before; a dead one may never have been tried.
ODD_DELIVERIES: Final = (
    "SELECT run_id, hook, status, attempts FROM @deliveries WHERE CASE status"
    " WHEN 'pending' THEN attempts <> 0 WHEN 'dead' THEN updated IS NULL"
    " WHEN 'running' THEN attempts < 1 OR updated IS NULL"
    " WHEN 'failed' THEN attempts < 1 OR updated IS NULL"
    " WHEN 'delivered' THEN attempts < 1 OR updated IS NULL ELSE 1 = 1 END"
)

CHECKS: Final = (
    (BEHIND, "behind", "stands at sequence {}, but its last event is {}"),
    (ORPHAN_EVENTS, "orphan event", "is not known, but has {} events"),
    (ORPHAN_DELIVERIES, "orphan delivery", "owes {} an event that is not known"),
    (ABANDONED, "abandoned", "{!r} has no end, and its keeper {!r} has ended"),
    (UNATTENDED, "unattended", "owes {} an event, and its keeper {!r} has ended"),
    (ODD_DELIVERIES, "odd delivery", "owes {} an event, as {} after {} attempts"),
)
"""Each query with the kind of its findings, and their message, formatted with its other columns."""


def findings(session: Session, codec: Codec) -> list[Finding]:
    """Return everything that is wrong in the journal."""
    session.use_snapshot()
    born = session.all("SELECT value FROM @meta WHERE name = 'born'")[0][0]
    rows = [
        (run_id, "gap", f"has {count} events of those up to sequence {last}")
        for run_id, first, last, count, created in session.all(GAPS)
        # A journal that was lost and created again may begin in the middle of a run.
        if count != last - first + 1 or created >= born
    ]
    for query, kind, message in CHECKS:
        rows += [(run_id, kind, message.format(*rest)) for run_id, *rest in session.all(query)]
    for run_id, name, unended in session.all(ODD_RUNS):
        ending = "without an end" if unended else "but has an end"
        rows.append((run_id, "odd run", f"is in state {name}, {ending}"))

    return [Finding(kind, codec.load_id(run_id), message) for run_id, kind, message in rows]


# -- statistics ----------------------------------------------------------------------------------


def statistics(session: Session, size: int) -> Statistics:
    """Count the rows of every kind."""

    def count(what: str) -> int:
        return int(session.all(f"SELECT count(*) FROM {what}")[0][0])  # noqa: S608 - fixed text

    statuses = session.all("SELECT status, count(*) FROM @deliveries GROUP BY status ORDER BY 1")

    return Statistics(
        runs=count("@runs"),
        unfinished=count("@runs WHERE ended IS NULL"),
        events=count("@events"),
        deliveries={str(status): int(number) for status, number in statuses},
        owners=count("@owners"),
        alive=count("@owners WHERE ended IS NULL"),
        size=size,
        schema=VERSION,
    )
