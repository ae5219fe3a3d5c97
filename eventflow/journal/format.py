"""The format of lines: rows as one line of JSON, and back to values for the database.

A line is an object with the keys `runs`, `events`, `deliveries` and `settlements`, each absent
where it would be empty. Each holds lists of plain values in the order of the fields of `RunRow`,
`EventRow`, `DeliveryRow` and `Settlement`: ids are 32 hex digits, times whole microseconds since
1970, tuples JSON texts.

`hook_sets` holds owner, id and text of sets of hooks, before or with the first run that names them.
`hook_changes` says that other sets hold for the unfinished runs of an owner: its id, the reference
of their definition, the set that they named, and the new one; without a reference it is the set of
their bus that is exchanged.

The first line of a spool has only the key `owners`, which describes its owner; a commit ignores it,
as owners are registered in another way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, TypeAlias

from pydantic_core import from_json, to_json

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.rows import (
    DeliveryRow,
    EventRow,
    RunRow,
    Settlement,
)

__all__ = [
    "JournalLine",
    "Rows",
    "Tables",
    "Values",
    "decode",
    "matters",
    "owner_in",
    "owner_line",
]

Values: TypeAlias = list[Any]
"""The values of a row, as the database stores them."""

Tables: TypeAlias = dict[str, list[Values]]
"""The rows of a line by the name of their table."""

_WIDTHS: Final = {
    "runs": len(RunRow._fields),
    "events": len(EventRow._fields),
    "deliveries": len(DeliveryRow._fields),
    "settlements": len(Settlement._fields),
    "hook_sets": 3,
    "hook_changes": 4,
    "owners": 1,
}
_HOOKS: Final = 2
"""How many columns of a run name sets of hooks: the last ones, absent in lines of before."""

CHUNK: Final = 25
"""How many lines are parsed at a time: few enough that the garbage collector is not triggered by
the parsed values."""

_OWNER: Final = RunRow._fields.index("owner")
_SEQUENCE: Final = RunRow._fields.index("sequence")
_ENDED: Final = RunRow._fields.index("ended")
_EVENT_SEQUENCE: Final = EventRow._fields.index("sequence")
_STATUS: Final = DeliveryRow._fields.index("status")
_SETTLED_ID: Final = Settlement._fields.index("delivery_id")
_SETTLED_STATUS: Final = Settlement._fields.index("status")
_DELIVERED: Final = str(DeliveryStatus.DELIVERED)


class JournalLine(bytes):
    """A line with its rows, so that it need not be parsed in the process that made it."""

    rows: Tables

    @classmethod
    def of(cls, rows: Tables) -> JournalLine:
        """Make a line of rows of plain values."""
        line = cls(to_json(rows))
        line.rows = rows

        return line


@dataclass(slots=True)
class Rows:
    """The rows of several lines, without those that later ones among them replace.

    `events` holds the values of all events one after another; `bad` the lines that could not be
    parsed and are left out.
    """

    runs: dict[str, Values] = field(default_factory=dict)
    events: Values = field(default_factory=list)
    deliveries: dict[str, Values] = field(default_factory=dict)
    settlements: dict[str, Values] = field(default_factory=dict)
    hook_sets: Values = field(default_factory=list)
    hook_changes: list[Values] = field(default_factory=list)
    bad: list[bytes] = field(default_factory=list)

    def add(self, line: Tables) -> None:
        """Add the rows of the next line.

        They are not changed: the line may have to be committed again.
        """
        for run in line.get("runs", ()):
            self._add_run(run)
        for event in line.get("events", ()):
            self.events += event
        for delivery in line.get("deliveries", ()):
            self.deliveries.setdefault(delivery[0], [*delivery])
        for settlement in line.get("settlements", ()):
            self._settle(settlement)
        for hook_set in line.get("hook_sets", ()):
            self.hook_sets += hook_set
        self.hook_changes += line.get("hook_changes", ())

    def _add_run(self, run: Values) -> None:
        before = self.runs.get(run[0])
        if before is None or run[_SEQUENCE] >= before[_SEQUENCE]:
            # The last column is the keeper: at first, the owner that executes the run.
            absent = [None] * (_WIDTHS["runs"] - len(run))
            self.runs[run[0]] = [*run, *absent, run[_OWNER]]

    def _settle(self, settlement: Values) -> None:
        key = settlement[_SETTLED_ID]
        delivery = self.deliveries.get(key)
        if delivery is None:
            before = self.settlements.get(key)
            if before is None or before[_SETTLED_STATUS] != _DELIVERED:
                self.settlements[key] = settlement
        elif delivery[_STATUS] != _DELIVERED:
            _, _, status, attempts, updated, due, error = settlement
            delivery[_STATUS:] = (status, attempts, due, error, updated)


def owner_line(description: str) -> JournalLine:
    """Make the line that describes the owner of a spool."""
    return JournalLine.of({"owners": [[description]]})


def owner_in(line: bytes) -> str:
    """Return the description in an owner line; an empty text for any other line."""
    tables = _parse_one(line)
    owners = tables.get("owners") if _is_well_formed(tables) else None

    return str(owners[0][0]) if owners else ""


def matters(line: bytes) -> bool:
    """Return whether a run or a hook would be lost with a line, or run again.

    It begins or ends a run, is about hooks, or describes the owner.
    """
    if not isinstance(line, JournalLine):
        return True
    rows = line.rows
    if not rows.keys().isdisjoint(("deliveries", "settlements", "owners")):
        return True
    ends = any(run[_ENDED] is not None for run in rows.get("runs", ()))

    return ends or any(event[_EVENT_SEQUENCE] == 0 for event in rows.get("events", ()))


def decode(lines: Iterable[bytes]) -> Rows:
    """Read lines in the order in which they were written; what cannot be parsed is left out."""
    rows = Rows()
    remaining = iter(lines)
    while chunk := list(islice(remaining, CHUNK)):
        parsed = iter(_parse([line for line in chunk if line.__class__ is not JournalLine]))
        for line in chunk:
            tables = line.rows if isinstance(line, JournalLine) else next(parsed)
            if _is_well_formed(tables):
                rows.add(tables)
            else:
                rows.bad.append(line)

    return rows


def _parse(lines: list[bytes]) -> list[Any]:
    """Parse all lines at once, which is faster; one by one only if one of them is not JSON."""
    try:
        values = from_json(b"[" + b",".join(lines) + b"]")
    except ValueError:
        values = None
    # A line that is not JSON by itself may be a part of it among others.
    if isinstance(values, list) and len(values) == len(lines):
        return values

    return [_parse_one(line) for line in lines]


def _parse_one(line: bytes) -> Any:
    try:
        return from_json(line)
    except ValueError:
        return None


def _is_well_formed(line: Any) -> bool:
    """Return whether this is an object of known keys, with lists of rows of the right width."""
    if not isinstance(line, dict) or not line:
        return False
    try:
        for key, rows in line.items():
            width = _WIDTHS[key]
            for row in rows:
                if row.__class__ is not list or not (
                    len(row) == width or (key == "runs" and len(row) == width - _HOOKS)
                ):
                    return False
    except (KeyError, TypeError):
        return False

    return True
