"""Journals of very many events, written by bare `executemany` into the real tables.

They hold what weeks of work leave: flows of a hundred runs each, one run in a thousand Failed, a
delivered hook for each flow, and a last flow with a tenth of all runs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from eventflow.journal.rows import DeliveryRow, EventRow, OwnerRow, RunRow, micros
from eventflow.journal.stores.sqlite import SqliteJournal

__all__ = ["FILE", "OWNER", "build"]

FILE: Final = "journal.db"
OWNER: Final = "long-gone"
DAYS: Final = 20
"""Over how many days the runs are spread: none is old enough to be deleted."""

FLOW: Final = 100
"""How many runs there are of a flow and its tasks."""

FAILED: Final = 1_000
"""One run in so many has failed."""

STATES: Final = (("PENDING", "Pending"), ("RUNNING", "Running"), ("COMPLETED", "Completed"))
CHUNK: Final = 10_000
_WIDTHS: Final = {
    "runs": len(RunRow._fields) + 1,
    "events": len(EventRow._fields),
    "deliveries": len(DeliveryRow._fields),
}


class _Run(NamedTuple):
    """A run in the archive: its time in microseconds, and its parent."""

    number: int
    at: int
    parent: str | None

    @property
    def id(self) -> str:
        """An id like a UUIDv7: milliseconds first, and digits that differ last."""
        return f"{self.at // 1000:012x}7{self.number:011x}{self.number * 2654435761 % 2**32:08x}"

    @property
    def last(self) -> tuple[str, str]:
        """The type and name of the state that it ended in."""
        return ("FAILED", "Failed") if self.number % FAILED == FAILED // 2 else STATES[-1]

    def state_id(self, sequence: int) -> str:
        """Return the id of the state at this place of the sequence."""
        return f"{self.id[:23]}{sequence}{self.id[24:]}"


def build(folder: Path, events: int) -> Path:
    """Write a journal of so many events, three for each run; returns its file."""
    file = folder / FILE
    journal = SqliteJournal(file)
    now = datetime.now(UTC)
    owner = OwnerRow(OWNER, "here", "", 1, now - timedelta(days=DAYS), None, None, (), "", ())
    journal.register(owner)
    journal.end(OWNER, "ended")
    journal.close()
    runs = max(1, events // len(STATES))
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        everything = _runs(runs, now)
        while chunk := list(islice(everything, CHUNK)):
            _put(connection, "runs", [_run_row(run) for run in chunk])
            _put(connection, "events", [row for run in chunk for row in _event_rows(run)])
            _put(connection, "deliveries", [_delivery(run) for run in chunk if run.parent is None])
        connection.commit()

    return file


def _runs(count: int, now: datetime) -> Iterator[_Run]:
    begin = micros(now - timedelta(days=DAYS))
    step = timedelta(days=DAYS) / timedelta(microseconds=1) / count
    last_flow = count - count // 10
    parent: str | None = None
    for number in range(count):
        is_flow = number == last_flow or (number < last_flow and number % FLOW == 0)
        run = _Run(number, begin + int(number * step), None if is_flow else parent)
        if is_flow:
            parent = run.id
        yield run


def _run_row(run: _Run) -> Sequence[Any]:
    kind, definition = ("flow", "etl") if run.parent is None else ("task", "extract")
    ended = run.at + 2_000

    return (
        *(run.id, kind, f"calm-otter-{run.number}", definition, f"work:{definition}", None),
        *("[]", '[{"number":1}]', run.parent, run.parent or run.id, run.parent or run.id),
        *(OWNER, run.at, run.at + 1_000, ended, 0.001, 1, 2, run.state_id(2)),
        *(*run.last, ended, None, "", "", OWNER),
    )


def _event_rows(run: _Run) -> Iterator[Sequence[Any]]:
    for sequence, (kind, name) in enumerate((*STATES[:2], run.last)):
        follows = run.state_id(sequence - 1) if sequence else None
        at = run.at + sequence * 1_000
        count = min(sequence, 1)
        yield (run.state_id(sequence), run.id, sequence, kind, name, at, count, None, None, follows)


def _delivery(run: _Run) -> Sequence[Any]:
    key = f"{run.id[:23]}d{run.id[24:]}"

    return (
        *(key, run.state_id(2), run.id, 0, "work:tell", 1, "delivered", 1),
        *(None, None, run.at + 3_000),
    )


def _put(connection: sqlite3.Connection, table: str, rows: Sequence[Sequence[Any]]) -> None:
    named = {"runs": (*RunRow._fields, "keeper"), "events": EventRow._fields}
    columns = f" ({', '.join(named[table])})" if table in named else ""
    marks = ", ".join("?" * _WIDTHS[table])
    connection.executemany(f"INSERT INTO {table}{columns} VALUES ({marks})", rows)
