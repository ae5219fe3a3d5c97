"""Putting a line into a writer as publishers do."""

from __future__ import annotations

from eventflow.journal.writer import Writer

__all__ = ["now", "soon"]


def soon(writer: Writer, line: bytes) -> None:
    """Have a line written within a moment."""
    writer.put(line)
    writer.ring()


def now(writer: Writer, line: bytes) -> bool:
    """Have a line written before going on; says whether it is durable."""
    lost = writer.lost
    safe = writer.put(line)
    if safe:
        writer.ring()

    return safe or (writer.wait() and writer.lost == lost)
