"""The feed: the groups of records in the order in which they were committed, kept for an hour.

What was committed before that is read from the runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from uuid import UUID

from eventflow.journal.contract import Cursor, Fence
from eventflow.journal.history import (
    Transition,
    event_rows,
    run_row,
    transitions,
    transitions_of,
)
from eventflow.journal.records import Record, RunRecord, content_of, scan
from eventflow.journal.rows import EventRow, OwnEvent, RunRow, moment
from eventflow.journal.stores.queries.runs import stored_run
from eventflow.journal.stores.statements import FROM_RUNS, STORED, Session, stored

__all__ = ["READ", "histories", "keeps", "put", "read", "trim"]

KEPT_SECONDS: Final = 3600
"""How long groups are kept."""

KEPT_BYTES: Final = 64 * 2**20
"""How many bytes of groups are kept at most."""

PUT: Final = (
    "INSERT INTO @feed (at, owner, data) SELECT ?, number, ? FROM @owners"
    " WHERE id = ? AND (? < 0 OR token = ? AND ended IS NULL)"
)
# Never the last one, whose place would be used again.
TRIM: Final = (
    "DELETE FROM @feed WHERE place < (SELECT max(place) FROM @feed) AND place <= (SELECT max(place)"
    " FROM (SELECT place, at, sum(length(data)) OVER (ORDER BY place DESC) AS size FROM @feed) f"
    " WHERE at < ? OR size > ?)"
)


def put(session: Session, data: bytes, owner: str, fence: Fence | None) -> int:
    """Append a group; return 0 if the owner is not known, or the fence not in force."""
    token = -1 if fence is None else fence.token

    return session.run(PUT, (session.now(), data, owner, token, token))


def trim(session: Session) -> int:
    """Delete the groups that are too old, or too many; return how many."""
    return session.run(TRIM, (session.now() - KEPT_SECONDS * 1_000_000, KEPT_BYTES))


def keeps(session: Session, since: int) -> bool:
    """Return whether nothing that was committed since then, in microseconds, has been deleted."""
    oldest = session.all("SELECT place, at FROM @feed ORDER BY place LIMIT 1")

    # As long as the first place of all is there, nothing was ever deleted.
    return all(place == 1 or at < since for place, at in oldest)


_BITS: Final = 20
"""How many bits of the last part of a cursor count events of a record; the others count bytes."""

READ: Final = 2**62
"""The last part of a cursor behind a whole group."""

ENDS: Final = 1_000
"""Of how many runs the last transition is kept, as a part of their life that comes later needs it.

Without it all of the run is read once more."""

GROUPS: Final = 16
"""How many groups are read at a time."""


def read(
    session: Session, select: str, cursor: Cursor, limit: int, ends: dict[int, Transition]
) -> tuple[list[EventRow | OwnEvent], Cursor]:
    """Return the events after a cursor, and the cursor after them.

    `ends` keeps the last transition that was read of some runs.
    """
    found: list[EventRow | OwnEvent] = []
    while len(found) < limit:
        known = cursor[:2]
        groups = session.all(select, (known[0], known[1] + (cursor[2] == READ), GROUPS))
        for epoch, place, data in groups:
            index = cursor[2] if (epoch, place) == known else 0
            events, index = _read_group(session, data, index, limit - len(found), ends)
            found += events
            cursor = (epoch, place, index)
            if len(found) == limit:
                break
        if not groups:
            break

    return found, cursor


def _read_group(
    session: Session, data: bytes, index: int, limit: int, ends: dict[int, Transition]
) -> tuple[list[EventRow | OwnEvent], int]:
    """Return up to so many events of a group of records, and how far it was read."""
    start, skipped = divmod(index, 1 << _BITS)
    found: list[EventRow | OwnEvent] = []
    for record in scan(data, start):
        events = [*_events_in(session, data, record, ends)][skipped:]
        room = limit - len(found)
        found += events[:room]
        if len(events) > room:
            return found, (record.start << _BITS) + skipped + room
        skipped = 0
        if len(found) == limit:
            return found, record.end << _BITS

    return found, READ


def _events_in(
    session: Session, data: bytes, record: Record, ends: dict[int, Transition]
) -> Iterator[EventRow | OwnEvent]:
    if record.kind == "E":
        key, kind, at, text = content_of(data, record)
        yield OwnEvent(UUID(key), kind, moment(at), text)
    if record.kind != "R":
        return
    run = RunRecord.read(data, record.start, record.end)
    before = ends.get(run.run) if run.first else None
    if run.first and (before is None or before.sequence != run.first - 1):
        whole = stored_run(session, run.run)
        earlier = [] if whole is None else transitions_of(whole)
        before = next((each for each in reversed(earlier) if each.sequence < run.first), None)
    # That says how its events are counted, and which one the first follows.
    count, follows = (before.run_count, before.id) if before else (0, None)
    events = transitions(run.run, run.created, run.events.encode(), run.first, count)
    if len(ends) >= ENDS:
        ends.clear()
    ends.update((run.run, event) for event in events[-1:])
    yield from event_rows(run.run, events, follows)


HISTORIES: Final = (
    f"SELECT {STORED} {FROM_RUNS} WHERE r.id > ? AND (r.ended IS NULL OR r.ended >= ?)"
    " ORDER BY r.id LIMIT ?"
)


def histories(
    session: Session, since: int, after: UUID | None, limit: int
) -> list[tuple[RunRow, list[EventRow]]]:
    """Return runs, with all their events, that had not ended before then, in microseconds."""
    key = session.id(0 if after is None else after.int)
    runs = stored(session, HISTORIES, (key, since, limit))

    return [(run_row(run), [*event_rows(run.id, transitions_of(run))]) for run in runs]
