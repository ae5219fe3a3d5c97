"""The lines that were logged in a run and in all that it called, in the order of time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from heapq import merge
from typing import Final
from uuid import UUID

from eventflow.client.archive import Archive
from eventflow.client.records import LogRecord
from eventflow.journal.rows import LogRow

__all__ = ["RunLogs", "level_of"]

CHUNK: Final = 200
"""How many lines of a run are read at a time."""


def level_of(level: int | str) -> int:
    """Return the number of a level of `logging`.

    Raises:
        ValueError: there is no such level.
    """
    number = level if isinstance(level, int) else logging.getLevelName(level.upper())
    if not isinstance(number, int):
        names = "DEBUG, INFO, WARNING, ERROR or CRITICAL"
        raise ValueError(f"There is no level {level!r}; use {names}, or a number.")  # noqa: TRY004

    return number


class RunLogs:
    """Yields what was logged in a run and in all that it called, each line once, as they come.

    With `own` only what was logged in the run itself; `level` is the lowest.
    """

    def __init__(
        self, archive: Archive, run_id: UUID, *, own: bool = False, level: int = 0
    ) -> None:
        self._archive = archive
        self._run_id = run_id
        self._own = own
        self._level = level
        # How many lines of each run were read, or are not kept.
        self._read: dict[UUID, int] = {}
        self.left_out: dict[UUID, int] = {}
        """How many of the last lines of a run were not kept, when they were last read."""

    def lines(self) -> Iterator[LogRecord]:
        """Yield the lines that were logged by now and were not yielded yet, in order of time."""
        self.left_out.clear()
        counts = self._archive.journal.logged(self._run_id, own=self._own)
        runs = [
            self._of(run, count) for run, count in counts.items() if count > self._read.get(run, 0)
        ]
        for _, line in merge(*runs, key=lambda pair: pair[0]):
            yield line

    def _of(self, run: UUID, count: int) -> Iterator[tuple[datetime, LogRecord]]:
        """Yield the lines of one run up to a sequence, each with its place in the order of time."""
        at: datetime | None = None
        left_out = 0
        for row in self._rows(run, count):
            left_out += row.sequence - self._read.get(run, 0) - 1
            self._read[run] = row.sequence
            # The clock may have been set back: the lines of a run stay in their order.
            at = row.at if at is None else max(at, row.at)
            if row.level >= self._level:
                yield at, _record(row, left_out)
                left_out = 0
        left_out += max(0, count - self._read.get(run, 0))
        self._read[run] = max(count, self._read.get(run, 0))
        if left_out:
            self.left_out[run] = left_out

    def _rows(self, run: UUID, count: int) -> Iterator[LogRow]:
        after = self._read.get(run, 0)
        while rows := self._archive.journal.lines(run, after, CHUNK):
            for row in rows:
                if row.sequence > count:
                    return
                yield row
            after = rows[-1].sequence


def _record(row: LogRow, left_out: int) -> LogRecord:
    return LogRecord(
        run_id=row.run_id,
        sequence=row.sequence,
        timestamp=row.at,
        level=row.level,
        logger=row.logger,
        message=row.message,
        traceback=row.error,
        left_out=left_out,
    )
