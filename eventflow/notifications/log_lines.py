"""The last lines of a run's log, where the journal keeps them."""

from __future__ import annotations

import asyncio
import logging
from typing import Final
from uuid import UUID

from eventflow.client.client import Client
from eventflow.client.records import LogRecord
from eventflow.interrupts.portals import in_thread, unwrap
from eventflow.primitives.escapes import one_line
from eventflow.primitives.loggers import get_logger

__all__ = ["last_lines"]

_LINES: Final = 10
_LONGEST: Final = 300

_SECONDS: Final = 3.0
"""How long the journal may take: one that is locked must not keep people from being told."""

_log: Final = get_logger("notifications")


def last_lines(run_id: UUID) -> tuple[str, ...]:
    """Return the last lines that were logged in a run and in what it called; none in trouble."""

    def read() -> list[LogRecord]:
        return asyncio.run(Client().read_logs(run_id, level=logging.INFO, limit=_LINES))

    try:
        records = unwrap(in_thread(read).result(_SECONDS))
    except Exception as error:  # noqa: BLE001 - a notification without them is better than none
        _log.warning(f"The log of the run {run_id} cannot be read for a notification: {error!r}")
        return ()

    return tuple(map(_shown, records))


def _shown(line: LogRecord) -> str:
    clock = f"{line.timestamp.astimezone():%H:%M:%S}"

    return f"{clock} {line.level_name} {one_line(line.message, _LONGEST)}"
