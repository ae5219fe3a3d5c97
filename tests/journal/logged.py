"""Lines that runs have logged: their records made up for tests, and what is kept of them read."""

from __future__ import annotations

from itertools import count
from typing import Final

from eventflow.journal.contract import RunQuery
from eventflow.journal.records import pack, run_hex
from eventflow.journal.rows import LogLine, LogRow
from tests.journal.reading import the_run, written
from tests.journal.rows import AT, Identified

__all__ = ["NUMBERS", "line", "lines", "lines_of", "logged_by", "messages"]

NUMBERS: Final = count(1)
"""The numbers of the lines of all owners."""


def line(
    run: Identified,
    message: str,
    *,
    number: int | None = None,
    skipped: int = 0,
    at: int = AT,
    level: int = 20,
    logger: str = "lib",
    error: str | None = None,
) -> bytes:
    """Make the record of a line that was logged in a run."""
    number = next(NUMBERS) if number is None else number
    texts = (level, logger, message, error)

    return pack("G", LogLine(run_hex(run.id), number, skipped, at, *texts))


def lines(run: Identified, *messages: object) -> bytes:
    """Make the records of several lines."""
    return b"".join(line(run, str(message)) for message in messages)


def lines_of(definition: str) -> list[LogRow]:
    """Return the lines of the only run of a definition."""
    run = the_run(definition)

    return written().lines(run.id, limit=10_000)


def messages(definition: str) -> list[str]:
    """Return their messages."""
    return [line.message for line in lines_of(definition)]


def logged_by() -> dict[str, list[str]]:
    """Return the messages of all runs that have logged, by their definition, the oldest first."""
    journal = written()
    found: dict[str, list[str]] = {}
    for run in reversed(journal.runs(RunQuery(limit=10_000))):
        lines = [line.message for line in journal.lines(run.id)]
        if lines:
            found.setdefault(run.definition, []).extend(lines)

    return found
