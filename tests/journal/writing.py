"""Numbered records for tests of the way of bytes: appended as publishers do, and read back."""

from __future__ import annotations

from pathlib import Path

from eventflow.journal.contract import Fence, Group, Journal
from eventflow.journal.records import RunRecord, content_of, pack, pack_run, scan
from eventflow.journal.wal.segments import HEAD, Segment
from eventflow.journal.wal.writer import Writer

__all__ = [
    "HEADING",
    "OwnStore",
    "append",
    "append_all",
    "append_and_wait",
    "late",
    "numbers_in",
    "numbers_of",
    "on_disk",
    "owing",
    "record",
]

HEADING = pack("O", "the owner")


def record(number: int) -> bytes:
    """Make a record: every third one is an event, the others are of runs."""
    return pack("E", number) if number % 3 == 2 else owing(number, 0)


def owing(number: int, hooks: int = 1) -> bytes:
    """Make the record of a run that owes its last transition to so many hooks."""
    return pack_run(number, 0, 1, 10**15, 0, 2, 10**15, b"C", b"", b"", b"P0R1C2", hooks, 10**15)


def late(number: int, hooks: int, done: int) -> bytes:
    """Make the record that acknowledges hooks of a run whose own record was taken."""
    return pack("A", (f"{number:032x}", 2, hooks, done, done, 10**15))


def append(writer: Writer, number: int) -> None:
    """Have a record committed within a moment."""
    writer.append(record(number))
    writer.notify()


def append_all(writer: Writer, records: bytes) -> None:
    """Append records that follow each other, one by one."""
    for found in scan(records):
        writer.append(records[found.start : found.end])


def append_and_wait(writer: Writer, number: int) -> bool:
    """Have a record made durable before going on; returns False if it is not."""
    lost = writer.lost
    writer.append(record(number))
    if not writer.waits:
        writer.notify()
        return writer.lost == lost

    return writer.wait() and writer.lost == lost


def numbers_in(data: bytes) -> list[int]:
    """Read the numbers of all whole records, without the acknowledgements that came late."""
    numbers = []
    for found in scan(data):
        if found.kind == "R":
            numbers.append(RunRecord.read(data, found.start, found.end).run)
        elif found.kind == "E":
            numbers.append(content_of(data, found))

    return numbers


def on_disk(folder: Path) -> list[int]:
    """Read what another process would commit from a folder, without deleting anything."""
    numbers = []
    for path in sorted(folder.glob("segment-*"), key=lambda path: int(path.name[8:])):
        data = path.read_bytes()
        numbers += numbers_in(data[int.from_bytes(data[32:40], "big") or HEAD :])

    return numbers


def numbers_of(segment: Segment) -> list[int]:
    """Read what a segment holds."""
    return numbers_in(bytes(segment.data[HEAD : segment.end]))


class OwnStore:
    """A journal as the writer of one owner uses it."""

    def __init__(self, journal: Journal, owner: str, fence: Fence | None = None) -> None:
        self.in_hurry = False
        self.in_transaction = journal.in_transaction
        self.close = journal.close
        self._journal = journal
        self._owner = owner
        self._fence = fence

    def commit(self, group: Group) -> None:
        """Write a group of records."""
        self._journal.commit(group, self._owner, self._fence)
