"""Selecting the lines that were logged in runs."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from eventflow.journal.rows import LogRow, moment
from eventflow.journal.stores.statements import Session
from eventflow.primitives.ids import id_of

__all__ = ["logged_in", "select_lines"]

LOGGED: Final = (
    "WITH RECURSIVE below(id) AS (SELECT CAST(? AS UUID) UNION SELECT c.id FROM below"
    " JOIN @runs c ON c.parent = below.id)"
    " SELECT l.run_id, l.count FROM below JOIN @logged l ON l.run_id = below.id ORDER BY 1"
)
OF_RUN: Final = "SELECT run_id, count FROM @logged WHERE run_id = ?"
LINES: Final = (
    "SELECT sequence, at, level, logger, message, error FROM @logs"
    " WHERE run_id = ? AND sequence > ? ORDER BY sequence LIMIT ?"
)


def logged_in(session: Session, run_id: UUID, *, own: bool = False) -> dict[UUID, int]:
    """Return how many lines were logged in a run, and in each that it has called."""
    rows = session.all(OF_RUN if own else LOGGED, (session.id(run_id.int),))

    return {id_of(session.number(key)): int(count) for key, count in rows}


def select_lines(session: Session, run_id: UUID, after: int, limit: int) -> list[LogRow]:
    """Return the lines of a run that are kept, those behind a sequence."""
    rows = session.all(LINES, (session.id(run_id.int), after, limit))

    return [LogRow(run_id, sequence, moment(at), *rest) for sequence, at, *rest in rows]
