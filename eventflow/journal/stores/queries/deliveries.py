"""Selecting the deliveries of runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any, Final

from eventflow.hooks.ledger import WORKERS, DeliveryStatus
from eventflow.journal.contract import DeliveryQuery
from eventflow.journal.history import delivery_row, owed_by, transitions_of
from eventflow.journal.records import Settled, run_hex
from eventflow.journal.rows import DeliveryRow, FailedDeliveries, StoredRun, moment
from eventflow.journal.stores.queries.runs import Where, add_keeper, stored_run
from eventflow.journal.stores.statements import (
    FROM_RUNS,
    OWING,
    SETTLED,
    STORED,
    Session,
    around,
    stored,
)

__all__ = [
    "all_runs",
    "deliveries_of",
    "failed_by_hook",
    "select_deliveries",
    "settled_between",
    "status_of",
]

BATCH: Final = 500
"""How many runs are read at a time, to search their deliveries."""

WHOLE: Final = 32
"""How many digits an id has."""

FAILED_BY_HOOK: Final = (
    "SELECT hook, status, count(*), min(updated), max(updated) FROM @deliveries"
    " WHERE status <> 'delivered' AND status IN ('failed', 'dead') GROUP BY hook, status"
    " ORDER BY count(*) DESC, hook, status"
)


def failed_by_hook(session: Session) -> list[FailedDeliveries]:
    """Return the hooks with deliveries that have failed or are dead, which all have a row."""
    return [
        FailedDeliveries(
            hook, DeliveryStatus(status), int(count), moment(first or 0), moment(last or 0)
        )
        for hook, status, count, first, last in session.all(FAILED_BY_HOOK)
    ]


def select_deliveries(session: Session, query: DeliveryQuery) -> list[DeliveryRow]:
    """Return the deliveries that match."""
    found = _matching(session, query)

    return [*islice(found, query.limit)]


def _matching(session: Session, query: DeliveryQuery) -> Iterator[DeliveryRow]:
    for run, settled in all_runs(session, _candidates(session, query), newest=query.newest):
        rows = deliveries_of(session, run, settled)
        for row in reversed(rows) if query.newest else rows:
            if _matches(row, query):
                yield row


def deliveries_of(
    session: Session, run: StoredRun, settled: Iterable[Settled]
) -> list[DeliveryRow]:
    """Return all deliveries of a run, in order."""
    events = transitions_of(run)
    ids = {event.sequence: event.id for event in events}

    return [
        delivery_row(run.id, owed, ids.get(owed.sequence))
        for owed in owed_by(run, events, session.hooks_of, settled)
    ]


def _matches(row: DeliveryRow, query: DeliveryQuery) -> bool:
    part = query.id_part
    if part is not None and not (row.id.hex.startswith(part) or row.id.hex.endswith(part)):
        return False

    return (
        (query.id is None or row.id == query.id)
        and (not query.statuses or row.status in query.statuses)
        and query.of_workers in {None, row.is_workers}
        and (query.hook is None or fnmatchcase(row.hook, query.hook))
    )


def _candidates(session: Session, query: DeliveryQuery) -> Where:
    """Return conditions on the runs that may have deliveries that match."""
    where = Where(session)
    if query.run_id is not None:
        where.add("r.id = ?", session.id(query.run_id.int))
    if query.id is not None:
        where.add("r.id BETWEEN ? AND ?", *map(session.id, around(query.id)))
    if query.id_part is not None:
        _add_id_part(where, query.id_part)
    add_keeper(where, query.keeper)
    _add_lists(where, query.hook)
    if query.statuses and DeliveryStatus.DELIVERED not in query.statuses:
        words = ", ".join(f"'{DeliveryStatus(status)}'" for status in query.statuses)
        # In the words of the indexes, which a `?` cannot match.
        left = f"SELECT run_id FROM @deliveries WHERE status <> 'delivered' AND status IN ({words})"
        if query.of_workers is not None:
            left += f" AND ordinal {'>=' if query.of_workers else '<'} {WORKERS}"
        if query.of_workers is not True and not {
            DeliveryStatus.PENDING,
            DeliveryStatus.RUNNING,
        }.isdisjoint(query.statuses):
            left += f" UNION SELECT id FROM @runs WHERE {OWING}"
        where.add(f"r.id IN ({left})")

    return where


# How JSON may write a character otherwise, and what a glob has but `*`.
_UNSURE: Final = re.compile(r'\[.*\]|[\x00-\x1f"\\?\[]', re.DOTALL)


def _add_lists(where: Where, hook: str | None) -> None:
    """Select the runs that have a list of hooks, or one that may have a matching hook."""
    session = where.session
    first = session.place("@", "r.events")
    elsewhere = "r.id IN (SELECT run_id FROM @parts)"
    if hook is None:
        where.add(f"({elsewhere} OR r.id IN (SELECT run_id FROM @deliveries) OR {first} > 0)")
        return
    of_row, value = session.glob("hook", hook)
    of_list, wider = session.glob("hooks", f'*"{_UNSURE.sub("*", hook)}"*')
    # Of most runs one list ends the events; those with more behind it are looked at anyway.
    listed = f"substr(r.events, {first} + 1)"
    more = " OR ".join(f"{session.place(mark, listed)} > 0" for mark in "@\n")
    where.add(
        f"({elsewhere} OR r.id IN (SELECT run_id FROM @deliveries WHERE {of_row}) OR {first} > 0"
        f" AND ({session.text(listed)} IN (SELECT id FROM @hook_lists WHERE {of_list}) OR {more}))",
        *(value, wider),
    )


def _add_id_part(where: Where, part: str) -> None:
    """Select the runs of the deliveries whose ids begin or end so.

    They begin like the id of their run, and end like it but for the last four digits.
    """
    digits, alike = where.session.hex("r.id"), part[-8:-4]
    if alike:
        place = WHOLE + 1 - len(part[-8:])
        where.add(
            f"({digits} LIKE ? OR substr({digits}, {place}, {len(alike)}) = ?)",
            *(f"{part[:12]}%", alike),
        )


def all_runs(
    session: Session, where: Where, *, newest: bool = False
) -> Iterator[tuple[StoredRun, list[Settled]]]:
    """Yield all runs that meet the conditions, in order, with their rows of deliveries."""
    order = f"ORDER BY r.id {'DESC' if newest else ''} LIMIT {BATCH}"
    text, values = f"SELECT {STORED} {FROM_RUNS}{where} {order}", where.values
    where.add(f"r.id {'<' if newest else '>'} ?")
    while runs := stored(session, text, values):
        first, last = sorted((runs[0].id, runs[-1].id))
        settled = settled_between(session, session.id(first), session.id(last))
        for run in runs:
            yield run, settled.get(run.id, [])
        if len(runs) < BATCH:
            return
        values = [*where.values, session.id(runs[-1].id)]
        text = f"SELECT {STORED} {FROM_RUNS}{where} {order}"


def settled_between(session: Session, first: Any, last: Any) -> dict[int, list[Settled]]:
    """Return the deliveries that have a row, by their run, of the runs with these ids."""
    found: dict[int, list[Settled]] = {}
    text = f"{SETTLED} WHERE run_id BETWEEN ? AND ? ORDER BY run_id, sequence, ordinal"
    for key, *rest in session.all(text, (first, last)):
        run = session.number(key)
        found.setdefault(run, []).append(Settled(run_hex(run), *rest))

    return found


def status_of(session: Session, delivery: Settled) -> DeliveryStatus | None:
    """Return the present status of a delivery; None if it is not owed."""
    run = stored_run(session, int(delivery.run, 16))
    if run is None:
        return None
    key = session.id(run.id)
    settled = settled_between(session, key, key).get(run.id, [])
    place = (delivery.sequence, delivery.ordinal)

    return next(
        (
            row.status
            for row in deliveries_of(session, run, settled)
            if (row.sequence, row.ordinal) == place
        ),
        None,
    )
