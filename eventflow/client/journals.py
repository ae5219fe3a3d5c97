"""Opening the journal in force for reading, without making one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

from eventflow.interrupts.cancellation import register_canceller
from eventflow.journal import open_journal
from eventflow.journal.contract import Journal
from eventflow.owners.leftovers import take_in
from eventflow.settings import EVENTFLOW_DURABILITY, EVENTFLOW_JOURNAL_URL
from eventflow.wiring import recorder

__all__ = ["ask_cancel", "journal_file", "opened_journal", "take_in_ended"]

_SQLITE: Final = "sqlite:///"


def journal_file() -> Path | None:
    """Return the file of the journal in force, whether it exists or not; None if it is no file."""
    url = EVENTFLOW_JOURNAL_URL.value()

    return Path(url.removeprefix(_SQLITE)) if url.startswith(_SQLITE) else None


@contextmanager
def opened_journal() -> Iterator[Journal | None]:
    """Open the journal in force for a block; yields None where there is none yet.

    What this process has recorded is committed first, and what processes have left that ended.

    Raises:
        JournalError: the journal cannot be reached.
        MissingExtraError: the driver of PostgreSQL is not installed.
    """
    own = recorder()
    if own is not None:
        own.flush()
    take_in_ended()
    file = journal_file()
    if file is not None and not file.is_file():
        yield None
        return
    if own is not None:
        # Not closed: the recorder uses it, and a journal in memory exists nowhere else.
        yield own.journal
        return
    journal = open_journal(EVENTFLOW_JOURNAL_URL.value(), EVENTFLOW_DURABILITY.value())
    try:
        yield journal
    finally:
        journal.close()


def take_in_ended() -> None:
    """Have the journal in force hold what processes have left that ended."""
    own = recorder()
    # A transaction of this thread would be waited for.
    if own is None or not own.journal.in_transaction():
        take_in(EVENTFLOW_JOURNAL_URL.value(), EVENTFLOW_DURABILITY.value())


def ask_cancel(run_id: UUID) -> bool:
    """Request the cancellation of a run of any process, through the journal.

    Returns False if the journal has no such run, or it has ended.

    Raises:
        JournalError: the journal cannot be reached.
    """
    with opened_journal() as journal:
        return journal is not None and journal.ask_cancel(run_id)


# `eventflow.cancel` calls this for runs that are not of this process.
register_canceller(ask_cancel)
