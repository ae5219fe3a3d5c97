"""Finding the journal in force, to read it without making it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

from eventflow.interrupts.cancellation import register_canceller
from eventflow.journal import open_journal
from eventflow.journal.contract import Journal
from eventflow.settings import EVENTFLOW_DURABILITY, EVENTFLOW_JOURNAL_URL
from eventflow.wiring import recorder

__all__ = ["ask_cancel", "journal_file", "opened_journal"]

_SQLITE: Final = "sqlite:///"


def journal_file() -> Path | None:
    """Give the file that the journal in force is kept in, there or not; None if in no file."""
    url = EVENTFLOW_JOURNAL_URL.value()

    return Path(url.removeprefix(_SQLITE)) if url.startswith(_SQLITE) else None


@contextmanager
def opened_journal() -> Iterator[Journal | None]:
    """Open the journal in force for the length of a block; None where there is none yet.

    What this process itself has still to write is written first.

    Raises:
        JournalError: the journal cannot be reached.
        MissingExtraError: the driver of PostgreSQL is not installed.
    """
    own = recorder()
    if own is not None:
        own.flush()
    file = journal_file()
    if file is not None and not file.is_file():
        yield None
        return
    if own is not None:
        # Not closed: it is in use, and what is kept in memory is only there.
        yield own.journal
        return
    journal = open_journal(EVENTFLOW_JOURNAL_URL.value(), EVENTFLOW_DURABILITY.value())
    try:
        yield journal
    finally:
        journal.close()


def ask_cancel(run_id: UUID) -> bool:
    """Ask for the cancellation of a run of any process, by a note in the journal.

    Gives False if the journal knows no such run without end.

    Raises:
        JournalError: the journal cannot be reached.
    """
    with opened_journal() as journal:
        return journal is not None and journal.ask_cancel(run_id)


# `eventflow.cancel` looks here for runs that are not of this process.
register_canceller(ask_cancel)
