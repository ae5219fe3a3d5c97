"""Selecting runs, and counting them."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic_core import to_json

from eventflow.journal.contract import RunQuery
from eventflow.journal.records import LETTERS, state_text
from eventflow.journal.rows import StoredRun, TalliedRuns, micros
from eventflow.journal.stores.statements import FROM_RUNS, IS_OF, RUN, STORED, Session, stored
from eventflow.states import StateType

__all__ = [
    "Where",
    "add_keeper",
    "select_runs",
    "select_tree",
    "stored_run",
    "tally_runs",
    "tally_tree",
]

BELOW: Final = (
    "r.id IN (WITH RECURSIVE below(id) AS (SELECT ? UNION"
    " SELECT c.id FROM below JOIN @runs c ON c.parent = below.id) SELECT id FROM below{limit})"
)
"""A run and all below it, found by the index of the parents; callers before what they called."""

TREE: Final = f"SELECT {STORED} {FROM_RUNS} WHERE {BELOW.format(limit=' LIMIT ?')} ORDER BY r.id"
TALLY_TREE: Final = (
    "SELECT d.run_type, d.name, r.state, count(*), min(r.created), max(r.ended)"
    f" {FROM_RUNS} WHERE {BELOW.format(limit='')} GROUP BY d.run_type, d.name, r.state"
    " ORDER BY min(r.created), d.name, r.state"
)

CLOCKS_DIFFER: Final = timedelta(days=1)
"""By how much the clocks of hosts may differ."""

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


def stored_run(session: Session, run: int) -> StoredRun | None:
    """Return one run as it is stored."""
    return next(iter(stored(session, RUN, (session.id(run),))), None)


def select_tree(session: Session, run: int, limit: int) -> list[StoredRun]:
    """Return a run and all that it called, directly or not, in the order of their ids.

    At most so many, callers before what they called.
    """
    return stored(session, TREE, (session.id(run), limit))


def tally_tree(session: Session, run: int) -> list[TalliedRuns]:
    """Count a run and all that it called, directly or not, by definition and state."""
    return [*map(TalliedRuns._make, session.all(TALLY_TREE, (session.id(run),)))]


def select_runs(session: Session, query: RunQuery) -> list[StoredRun]:
    """Return the runs that match, newest first."""
    where = _where_newest(session, query)
    if where is None:
        where = _where(session, query)
        _add_states(where, query)
    text = f"SELECT {STORED} {FROM_RUNS}{where} ORDER BY r.id DESC LIMIT ? OFFSET ?"

    return stored(session, text, (*where.values, query.limit, query.skip))


# Of each definition the newest run.
LATEST: Final = (
    "SELECT id FROM (SELECT d.id, (SELECT r.id FROM @runs r WHERE r.definition = d.id"
    " AND r.parent IS NULL{older} ORDER BY r.id DESC LIMIT 1) AS last FROM @definitions d{where}) f"
    " WHERE last IS NOT NULL ORDER BY last DESC LIMIT ?"
)
NEWEST: Final = (
    "SELECT r.id FROM @runs r WHERE r.definition = ? AND r.parent IS NULL{older}"
    " ORDER BY r.id DESC LIMIT ?"
)


def _where_newest(session: Session, query: RunQuery) -> Where | None:
    """Return the runs themselves, where only their definitions are asked for.

    The newest runs of all are among those of the definitions with the newest ones, and of each
    definition an index has them in order. A database that is asked for all at once sorts them all.
    """
    usual = replace(
        query,
        definition=None,
        tags=(),
        run_type=None,
        before=None,
        limit=0,
        state_types=tuple(query.state_types),
        state_names=tuple(query.state_names),
    )
    if usual != RunQuery(top=True, limit=0) or (query.definition is None and not query.tags):
        return None
    found, where = _definitions(session, query), Where(session)
    before = [] if query.before is None else [session.id(query.before.int)]
    older = " AND r.id < ?" * len(before)
    latest = LATEST.format(older=older, where=found)
    keys: list[Any] = []
    for (definition,) in session.all(latest, (*before, *found.values, query.limit)):
        newest = NEWEST.format(older=older)
        keys += [key for (key,) in session.all(newest, (definition, *before, query.limit))]
    keys = sorted(keys, key=session.number, reverse=True)[: query.limit]
    where.add(f"r.id IN ({', '.join('?' * len(keys)) or 'NULL'})", *keys)

    return where


def tally_runs(session: Session, query: RunQuery) -> dict[StateType, int]:
    """Count the runs that match by the types of their states, whatever states are asked for."""
    where = _where(session, query)
    letter = "substr(r.state, 1, 1)"
    total = session.all(f"SELECT count(*) FROM @runs r{where}", where.values)
    # In the words of the index, which has few of them: most runs have completed. And so that no
    # other index serves, which has many.
    where.conditions = [
        "coalesce(r.parent, r.parent) IS NULL" if each == "r.parent IS NULL" else each
        for each in where.conditions
    ]
    where.add(f"{letter} <> 'C'")
    found = session.all(f"SELECT {letter}, count(*) FROM @runs r{where} GROUP BY 1", where.values)
    counts = {KINDS[text]: int(count) for text, count in found}
    counts[StateType.COMPLETED] = int(total[0][0]) - sum(counts.values())

    return {kind: count for kind, count in counts.items() if count}


KINDS: Final = {letter: kind for kind, letter in LETTERS.items()}


def _where(session: Session, query: RunQuery) -> Where:
    """Return the conditions of a query, except for those on the states."""
    where = Where(session)
    if query.parent_run_id is not None:
        where.add("r.parent = ?", session.id(query.parent_run_id.int))
    if query.flow_run_id is not None:
        where.add(OF_FLOW, session.id(query.flow_run_id.int))
    if query.unfinished:
        where.add("r.ended IS NULL")
    if query.top:
        where.add("r.parent IS NULL")
    _add_times(where, query)
    _add_definition(where, query)
    _add_name(where, query.name)
    _add_text(where, query.text)
    add_keeper(where, query.keeper)
    if query.id_part is not None:
        digits = session.hex("r.id")
        where.add(f"({digits} LIKE ? OR {digits} LIKE ?)", f"{query.id_part}%", f"%{query.id_part}")

    return where


def _add_times(where: Where, query: RunQuery) -> None:
    """Select runs by when they were made; by their ids as well, so that no others are read."""
    id_of = where.session.id
    if query.since is not None:
        where.add("r.created >= ?", micros(query.since))
        where.add("r.id >= ?", id_of(_id_floor(query.since)))
    if query.until is not None:
        where.add("r.created <= ?", micros(query.until))
        where.add("r.id <= ?", id_of(_id_floor(query.until + 2 * CLOCKS_DIFFER)))
    if query.before is not None:
        where.add("r.id < ?", id_of(query.before.int))
    if query.after is not None:
        where.add("r.id > ?", id_of(query.after.int))


def _id_floor(since: datetime) -> int:
    """Return a lower bound for the ids of runs of that time or later.

    A run's id is made with the run, and begins with the time in milliseconds.
    """
    return max(0, micros(since - CLOCKS_DIFFER) // 1000) << 80


def _add_definition(where: Where, query: RunQuery) -> None:
    found = _definitions(where.session, query)
    if found.conditions:
        where.add(f"r.definition IN (SELECT d.id FROM @definitions d{found})", *found.values)


def _definitions(session: Session, query: RunQuery) -> Where:
    """Return conditions on definitions: their names, their types, and their tags, as JSON."""
    where = Where(session)
    if query.definition is not None:
        condition, value = session.glob("d.name", query.definition)
        where.add(condition, value)
    where.add("d.run_type = ?", query.run_type)
    for tag in query.tags:
        written = _WILD.sub(r"[\g<0>]", to_json(tag).decode())
        condition, value = session.glob("d.tags", f"*{written}*")
        where.add(condition, value)

    return where


_WILD: Final = re.compile(r"[*?\[]")


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


def _add_text(where: Where, text: str | None) -> None:
    """Select runs by a part of their name, of their definition's, or of what their states say."""
    if text is None:
        return
    part = "%" + _LIKE.sub(r"~\g<0>", text.lower()) + "%"
    said = where.session.place(to_json(text).decode()[1:-1], "r.events")
    where.add(
        "(lower(r.name) LIKE ? ESCAPE '~' OR r.definition IN"
        f" (SELECT id FROM @definitions WHERE lower(name) LIKE ? ESCAPE '~') OR {said} > 0)",
        *(part, part),
    )


_LIKE: Final = re.compile(r"[~%_]")


def add_keeper(where: Where, keeper: str | None) -> None:
    """Select runs by the owner that is responsible for them."""
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
