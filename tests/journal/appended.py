"""What the runs of the owner in force have appended to its present segment, read for tests."""

from __future__ import annotations

import threading
from typing import Any

from eventflow.journal.records import BEGUN, Record, RunRecord, content_of, scan
from eventflow.journal.wal.segments import HEAD
from eventflow.journal.wal.writer import Writer
from tests.journal.reading import the_recorder

__all__ = [
    "appended",
    "commit_manually",
    "flush_elsewhere",
    "kinds",
    "of_kind",
    "run_records",
    "spans",
    "the_writer",
]


def the_writer() -> Writer:
    """Return the writer of the owner in force."""
    return the_recorder().sink.writer


def commit_manually() -> None:
    """Have nothing committed but by `flush`: the thread is never woken."""
    the_writer().notified = True


def flush_elsewhere() -> None:
    """Have another thread commit everything, and wait for that."""
    thread = threading.Thread(target=the_recorder().flush)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()


def appended() -> list[tuple[str, Any]]:
    """Return kind and content of each record, in order, without the heading."""
    segment = the_writer().segment
    if segment is None:
        return []
    data = bytes(segment.data[: segment.end])

    return [(each.kind, _content(data, each)) for each in scan(data, HEAD) if each.kind != "O"]


def _content(data: bytes, record: Record) -> Any:
    if record.kind == "R":
        return RunRecord.read(data, record.start, record.end)
    if record.kind == BEGUN:
        return data[record.start : record.end]

    return content_of(data, record)


def kinds() -> str:
    """Return the kinds of all records."""
    return "".join(kind for kind, _ in appended())


def of_kind(wanted: str) -> list[Any]:
    """Return the contents of the records of a kind."""
    return [content for kind, content in appended() if kind == wanted]


def run_records() -> list[RunRecord]:
    """Return the records of runs."""
    return of_kind("R")


def spans() -> list[tuple[int, int]]:
    """Return the first and the last sequence of each record of a run."""
    return [(record.first, record.last) for record in run_records()]
