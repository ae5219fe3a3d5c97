"""Checking a journal: what must not be in it, whatever became of the processes that wrote it."""

from __future__ import annotations

from typing import Final

from eventflow.journal.contract import Finding
from eventflow.journal.rows import Codec
from eventflow.journal.stores.statements import OWED_LIST, UNKEPT, Session
from eventflow.states import TERMINAL, StateType

__all__ = ["findings"]

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
# Nobody keeps a run that was driven again until somebody claims it.
UNATTENDED: Final = (
    "SELECT d.run_id, d.hook, r.keeper FROM @deliveries d JOIN @runs r ON r.id = d.run_id"  # noqa: S608 - fixed text
    f" WHERE d.status IN {OWED_LIST} AND d.status <> 'delivered' AND r.ended IS NOT NULL"
    f" AND r.keeper <> '' AND {UNKEPT.format('r')}"
)
_ENDINGS: Final = "('" + "', '".join(sorted(TERMINAL)) + "')"
# NotReady, which is of type Pending, ends a run as well.
ODD_RUNS: Final = (
    f"SELECT id, state_name, ended IS NULL FROM @runs WHERE state_type IN {_ENDINGS}"  # noqa: S608 - fixed text
    f" AND ended IS NULL OR state_type NOT IN {_ENDINGS} AND ended IS NOT NULL"
    f" AND NOT (state_type = '{StateType.PENDING}' AND state_name = 'NotReady')"
)
# Driven again, a delivery is pending and was settled; dead, it may never have been tried.
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
"""What finds the runs concerned, the kind of finding, and what is said with the other columns."""


def findings(session: Session, codec: Codec) -> list[Finding]:
    """Look for what must not be."""
    session.freeze()
    born = session.all("SELECT value FROM @meta WHERE name = 'born'")[0][0]
    found = [
        (run_id, "gap", f"has {count} events of those up to sequence {last}")
        for run_id, first, last, count, created in session.all(GAPS)
        # The journal may have been lost and begun anew in the middle of a run.
        if count != last - first + 1 or created >= born
    ]
    for text, kind, message in CHECKS:
        found += [(one, kind, message.format(*rest)) for one, *rest in session.all(text)]
    for run_id, name, unended in session.all(ODD_RUNS):
        said = "without an end" if unended else "but has an end"
        found.append((run_id, "odd run", f"is in state {name}, {said}"))

    return [Finding(kind, codec.load_id(run_id), message) for run_id, kind, message in found]
