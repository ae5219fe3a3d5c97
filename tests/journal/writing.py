"""Lines for tests of the writer and the spool: appended as publishers do, and read back."""

from __future__ import annotations

from pathlib import Path

from eventflow.journal.spool import segments
from eventflow.journal.writer import Writer

__all__ = ["append", "append_and_wait", "numbered_lines", "read_spool"]


def append(writer: Writer, line: bytes) -> None:
    """Have a line committed within a moment."""
    writer.append(line)
    writer.notify()


def append_and_wait(writer: Writer, line: bytes) -> bool:
    """Have a line made durable before going on; returns False if it is not."""
    lost = writer.lost
    spooled = writer.append(line)
    if spooled:
        writer.notify()

    return spooled or (writer.wait() and writer.lost == lost)


def numbered_lines(count: int, start: int = 0) -> list[bytes]:
    """Make so many different lines."""
    return [b"line-%d" % number for number in range(start, start + count)]


def read_spool(folder: Path) -> list[bytes]:
    """Read the lines that another process finds in a spool."""
    lines = []
    for segment in segments(folder):
        lines += list(segment.lines())
        segment.close()

    return lines
