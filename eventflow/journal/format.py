"""Lines: the rows of one commit as one line of JSON, and back to plain values for the database.

A line is an object with the keys `runs`, `events`, `deliveries` and `settlements`, each absent
where it would be empty. Each holds lists of plain values in the order of the fields of `RunRow`,
`EventRow`, `DeliveryRow` and `Settlement`: ids are 32 hex digits, times whole microseconds since
1970, tuples JSON texts. The first line of a spool has only the key `owners`, and says whose it is;
the journal is told that otherwise, and passes over it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, TypeAlias

from pydantic_core import PydanticSerializationError, from_json, to_json

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import Batch
from eventflow.journal.rows import (
    DeliveryRow,
    EventRow,
    RunRow,
    Settlement,
    delivery_out,
    event_out,
    run_out,
    settlement_out,
    sound,
)

__all__ = [
    "JournalLine",
    "Rows",
    "Tables",
    "Values",
    "decode",
    "encode",
    "owner_in",
    "owner_line",
    "plain",
]

Values: TypeAlias = list[Any]
"""What a row consists of, as the database takes it."""

Tables: TypeAlias = dict[str, list[Values]]
"""The rows of a line by the name of their table."""

_WIDTHS: Final = {
    "runs": len(RunRow._fields),
    "events": len(EventRow._fields),
    "deliveries": len(DeliveryRow._fields),
    "settlements": len(Settlement._fields),
    "owners": 1,
}
CHUNK: Final = 25
"""How many lines are read at a time: what they are made of is let go before it is much, so that
the garbage collector is not called to look through it."""

_OWNER: Final = RunRow._fields.index("owner")
_SEQUENCE: Final = RunRow._fields.index("sequence")
_STATUS: Final = DeliveryRow._fields.index("status")
_SETTLED_ID: Final = Settlement._fields.index("delivery_id")
_SETTLED_STATUS: Final = Settlement._fields.index("status")
_DELIVERED: Final = str(DeliveryStatus.DELIVERED)


class JournalLine(bytes):
    """A line that still knows its rows, so that nobody has to read it in the process it is of."""

    rows: Tables

    @classmethod
    def of(cls, rows: Tables) -> JournalLine:
        """Make the line of some rows, in the form that a line has them in."""
        made = cls(to_json(rows))
        made.rows = rows

        return made


@dataclass(slots=True)
class Rows:
    """What is to be written together, without what is overtaken within it.

    `events` holds the values of all events one after another; `bad` the lines that could not be
    read and are left out.
    """

    runs: dict[str, Values] = field(default_factory=dict)
    events: Values = field(default_factory=list)
    deliveries: dict[str, Values] = field(default_factory=dict)
    settlements: dict[str, Values] = field(default_factory=dict)
    bad: list[bytes] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.runs or self.events or self.deliveries or self.settlements)

    def add(self, line: Tables) -> None:
        """Take in the rows of a line that comes after all that were taken in before.

        They are left as they are: the line may have to be committed again.
        """
        for run in line.get("runs", ()):
            self._add_run(run)
        for event in line.get("events", ()):
            self.events += event
        for delivery in line.get("deliveries", ()):
            self.deliveries.setdefault(delivery[0], [*delivery])
        for settlement in line.get("settlements", ()):
            self._settle(settlement)

    def _add_run(self, run: Values) -> None:
        before = self.runs.get(run[0])
        if before is None or run[_SEQUENCE] >= before[_SEQUENCE]:
            # Its keeper, in the last column, is at first the owner that executes it.
            self.runs[run[0]] = [*run, run[_OWNER]]

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


def encode(batch: Batch) -> bytes:
    """Give the line of a batch, without its end and without the fence."""
    line = _line(batch)
    try:
        return to_json(line)
    except PydanticSerializationError:
        # A lone surrogate, which JSON in UTF-8 cannot hold.
        return to_json({key: [sound(row) for row in rows] for key, rows in line.items()})


def _line(batch: Batch) -> Tables:
    line = {
        "runs": [[*run_out(row)] for row in batch.runs.values()],
        "events": [[*event_out(row)] for row in batch.events],
        "deliveries": [[*delivery_out(row)] for row in batch.deliveries],
        "settlements": [[*settlement_out(row)] for row in batch.settlements],
    }

    return {key: rows for key, rows in line.items() if rows}


def owner_line(description: str) -> JournalLine:
    """Give the line that says whose a spool is."""
    return JournalLine.of({"owners": [[description]]})


def owner_in(line: bytes) -> str:
    """Give the description in such a line; of any other, nothing."""
    found = _read_one(line)
    owners = found.get("owners") if _is_good(found) else None

    return str(owners[0][0]) if owners else ""


def plain(batch: Batch) -> Rows:
    """Give the plain values of a batch."""
    rows = Rows()
    rows.add(_line(batch))

    return rows


def decode(lines: Iterable[bytes]) -> Rows:
    """Read lines in the order in which they were written; what cannot be read is left out."""
    rows = Rows()
    coming = iter(lines)
    while some := list(islice(coming, CHUNK)):
        read = iter(_read([line for line in some if line.__class__ is not JournalLine]))
        for line in some:
            found = line.rows if isinstance(line, JournalLine) else next(read)
            if _is_good(found):
                rows.add(found)
            else:
                rows.bad.append(line)

    return rows


def _read(lines: list[bytes]) -> list[Any]:
    """Read all at once, which is faster; one by one only where one of them is no JSON."""
    try:
        found = from_json(b"[" + b",".join(lines) + b"]")
    except ValueError:
        found = None
    # A line that is no JSON by itself may be a part of it among others.
    if isinstance(found, list) and len(found) == len(lines):
        return found

    return [_read_one(line) for line in lines]


def _read_one(line: bytes) -> Any:
    try:
        return from_json(line)
    except ValueError:
        return None


def _is_good(line: Any) -> bool:
    """Whether this is an object of known keys, with lists of rows as wide as they must be."""
    if not isinstance(line, dict) or not line:
        return False
    try:
        for key, rows in line.items():
            width = _WIDTHS[key]
            for row in rows:
                if len(row) != width or row.__class__ is not list:
                    return False
    except (KeyError, TypeError):
        return False

    return True
