"""Keeping a journal small and checking it: what is deleted, what must not be, what there is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from eventflow.journal.base import Finding, Pruned, Statistics
from eventflow.journal.rows import Codec, micros
from eventflow.journal.schema import VERSION
from eventflow.journal.sql import OWED_LIST, Session

__all__ = ["findings", "prune_some", "prune_to_size", "statistics"]

CHUNK: Final = 500
"""How many runs are deleted in one transaction: others must have their turn."""

DELETABLE: Final = (
    "SELECT r.id FROM @runs r WHERE r.ended < ? AND NOT EXISTS (SELECT 1 FROM @deliveries d"  # noqa: S608 - fixed text
    f" WHERE d.run_id = r.id AND d.status IN {OWED_LIST})"
)


def prune_some(session: Session, before: int) -> Pruned:
    """Delete some of the runs that ended before a moment and owe nothing; none: it is done."""
    runs = session.all(f"{DELETABLE}{session.unmoved} ORDER BY r.id LIMIT ?", (before, CHUNK))
    deliveries = sum(session.run("DELETE FROM @deliveries WHERE run_id = ?", run) for run in runs)
    events = sum(session.run("DELETE FROM @events WHERE run_id = ?", run) for run in runs)
    for run in runs:
        session.run("DELETE FROM @runs WHERE id = ?", run)
    owners = 0
    if len(runs) < CHUNK:
        owners = session.run(
            "DELETE FROM @owners WHERE ended < ? AND id NOT IN"
            " (SELECT owner FROM @runs UNION SELECT keeper FROM @runs)",
            (before,),
        )

    return Pruned(len(runs), events, deliveries, owners)


def prune_to_size(
    transact: Callable[[Callable[[Session], Pruned]], Pruned],
    size: Callable[[], int],
    older_than: datetime | None,
    max_bytes: int | None,
) -> Pruned:
    """Delete what is too old, then the oldest until the size fits or nothing can go."""
    done = Pruned(0, 0, 0, 0)

    def some(before: int) -> int:
        nonlocal done
        gone = transact(lambda session: prune_some(session, before))
        done = Pruned(
            done.runs + gone.runs,
            done.events + gone.events,
            done.deliveries + gone.deliveries,
            done.owners + gone.owners,
        )
        return gone.runs

    if older_than is not None:
        while some(micros(older_than)) == CHUNK:
            pass
    if max_bytes is not None:
        while size() > max_bytes and some(2**62):
            pass

    return done


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
    "SELECT r.id, r.name, r.keeper FROM @runs r WHERE r.ended IS NULL AND NOT EXISTS"
    " (SELECT 1 FROM @owners o WHERE o.id = r.keeper AND o.ended IS NULL)"
)


def findings(session: Session, codec: Codec) -> list[Finding]:
    """Look for what must not be."""
    session.freeze()
    born = session.all("SELECT value FROM @meta WHERE name = 'born'")[0][0]
    found: list[Finding] = []

    def add(kind: str, run_id: object, message: str) -> None:
        found.append(Finding(kind, codec.load_id(run_id), message))

    for run_id, first, last, count, created in session.all(GAPS):
        # The journal may have been lost and begun anew in the middle of a run.
        if count != last - first + 1 or created >= born:
            add("gap", run_id, f"has {count} events of those up to sequence {last}")
    for run_id, sequence, last in session.all(BEHIND):
        add("behind", run_id, f"stands at sequence {sequence}, but its last event is {last}")
    for run_id, count in session.all(ORPHAN_EVENTS):
        add("orphan event", run_id, f"is not known, but has {count} events")
    for run_id, hook in session.all(ORPHAN_DELIVERIES):
        add("orphan delivery", run_id, f"owes {hook} an event that is not known")
    for run_id, name, keeper in session.all(ABANDONED):
        add("abandoned", run_id, f"{name!r} has no end, and {keeper or 'nobody'!r} has ended")

    return found


def statistics(session: Session, size: int) -> Statistics:
    """Give how much there is of what."""

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
