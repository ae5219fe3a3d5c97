"""What readers ask for: runs, and their deliveries."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any, Final, NamedTuple

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import DeliveryQuery, RunQuery
from eventflow.journal.history import (
    StoredRun,
    delivery_row,
    owed_by,
    transitions_of,
)
from eventflow.journal.records import LETTERS, Settled, run_hex, state_text
from eventflow.journal.rows import DeliveryRow, micros
from eventflow.journal.stores.statements import (
    FROM_RUNS,
    IS_OF,
    OWING,
    RUN,
    SETTLED,
    STORED,
    Session,
    around,
    stored,
)

__all__ = [
    "Where",
    "all_runs",
    "counts",
    "deliveries_of",
    "select_deliveries",
    "select_runs",
    "settled_between",
    "status_of",
    "stored_run",
]

BATCH: Final = 500
"""How many runs are read at a time, to search their deliveries."""

WHOLE: Final = 32
"""How many digits an id has."""

# The flow run and the task runs below it, found by the index of the parents.
OF_FLOW: Final = (
    "r.id IN (WITH RECURSIVE below(id) AS (SELECT ? UNION SELECT c.id FROM below"
    " JOIN @runs c ON c.parent = below.id JOIN @definitions e ON e.id = c.definition"
    " WHERE e.run_type = 'task') SELECT id FROM below)"
)


class Where:
    """The conditions of a query, with their values."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.conditions: list[str] = []
        self.values: list[Any] = []

    def add(self, condition: str, *values: Any) -> None:
        """Add a condition, unless its value is not given."""
        if None not in values:
            self.conditions.append(condition)
            self.values += values

    def __str__(self) -> str:
        return f" WHERE {' AND '.join(self.conditions)}" if self.conditions else ""


# -- runs ----------------------------------------------------------------------------------------


def stored_run(session: Session, run: int) -> StoredRun | None:
    """Return one run as it is stored."""
    return next(iter(stored(session, RUN, (session.id(run),))), None)


def select_runs(session: Session, query: RunQuery) -> list[StoredRun]:
    """Return the runs that match, newest first."""
    where = Where(session)
    if query.parent_run_id is not None:
        where.add("r.parent = ?", session.id(query.parent_run_id.int))
    if query.flow_run_id is not None:
        where.add(OF_FLOW, session.id(query.flow_run_id.int))
    if query.since is not None:
        where.add("r.created >= ?", micros(query.since))
        where.add("r.id >= ?", session.id(_id_floor(query.since)))
    if query.unfinished:
        where.add("r.ended IS NULL")
    if query.top:
        where.add("r.parent IS NULL")
    _add_definition(where, query)
    _add_name(where, query.name)
    _add_keeper(where, query.keeper)
    _add_states(where, query)
    if query.id_part is not None:
        digits = session.hex("r.id")
        where.add(f"({digits} LIKE ? OR {digits} LIKE ?)", f"{query.id_part}%", f"%{query.id_part}")
    text = f"SELECT {STORED} {FROM_RUNS}{where} ORDER BY r.id DESC LIMIT ?"

    return stored(session, text, (*where.values, query.limit))


def _id_floor(since: datetime) -> int:
    """Return a lower bound for the ids of runs of that time or later, so that no others are read.

    A run's id is made with the run, and begins with the time in milliseconds; one day is subtracted
    for clocks that differ.
    """
    return max(0, micros(since - timedelta(days=1)) // 1000) << 80


def _add_definition(where: Where, query: RunQuery) -> None:
    conditions, values = [], []
    if query.definition is not None:
        condition, value = where.session.glob("name", query.definition)
        conditions.append(condition)
        values.append(value)
    if query.run_type is not None:
        conditions.append("run_type = ?")
        values.append(query.run_type)
    if conditions:
        found = f"SELECT id FROM @definitions WHERE {' AND '.join(conditions)}"
        where.add(f"r.definition IN ({found})", *values)


def _add_name(where: Where, name: str | None) -> None:
    """Select runs by their name, which is not stored where it is the usual one."""
    if name is None:
        return
    definition, dash, digits = name.rpartition("-")
    usual = f"{where.session.hex('r.id')} LIKE ?"
    where.add(
        f"(r.name = ? OR r.name IS NULL AND {usual} AND r.definition IN"
        " (SELECT id FROM @definitions WHERE name = ?))",
        *(name, f"%{digits}" if dash and len(digits) == 3 else "", definition),  # noqa: PLR2004 - as many as there are
    )


def _add_keeper(where: Where, keeper: str | None) -> None:
    if keeper == "":
        # In the words of the index, which a `?` cannot match.
        where.add("r.keeper = ''")
    elif keeper is not None:
        where.add(f"(r.keeper = ? OR r.keeper IS NULL AND {IS_OF})", keeper, keeper)


def _add_states(where: Where, query: RunQuery) -> None:
    letters = [LETTERS[kind] for kind in query.state_types]
    names = [state_text(kind, name) for name in query.state_names for kind in LETTERS]
    matches = [
        f"{what} IN ({', '.join('?' * len(words))})"
        for what, words in (("substr(r.state, 1, 1)", letters), ("r.state", names))
        if words
    ]
    if matches:
        where.add(f"({' OR '.join(matches)})", *letters, *names)
    if letters and not names and "C" not in letters:
        # In the words of the index, which a `?` cannot match.
        where.add("substr(r.state, 1, 1) <> 'C'")


# -- deliveries ----------------------------------------------------------------------------------


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
    _add_keeper(where, query.keeper)
    _add_lists(where, query.hook)
    if query.statuses and DeliveryStatus.DELIVERED not in query.statuses:
        words = ", ".join(f"'{DeliveryStatus(status)}'" for status in query.statuses)
        # In the words of the indexes, which a `?` cannot match.
        left = f"SELECT run_id FROM @deliveries WHERE status <> 'delivered' AND status IN ({words})"
        if not {DeliveryStatus.PENDING, DeliveryStatus.RUNNING}.isdisjoint(query.statuses):
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
