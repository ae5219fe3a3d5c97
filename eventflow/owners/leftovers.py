"""Takes in what owners have left that ended: their records are committed, and no hook is called.

A process that owes nothing at its end leaves its records where they are, which takes no time, and
waits for nobody. Whoever comes next commits them: before it reads the journal, or while it runs.
"""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from typing import Final

from eventflow.errors import JournalError
from eventflow.hooks.ledger import OWED
from eventflow.journal import open_journal
from eventflow.journal.contract import (
    DeliveryQuery,
    Fence,
    Group,
    Journal,
    RunQuery,
    StaleOwnerError,
)
from eventflow.journal.rows import OwnerRow
from eventflow.journal.wal.spool import commit_in_parts, read_segments
from eventflow.journal.wal.status import log_loss
from eventflow.owners.folders import ENDED, DeadOwner, LockedFolder, ended, owners_folder
from eventflow.primitives.loggers import get_logger
from eventflow.settings import Durability

__all__ = ["commit_spool", "end_owner", "is_done", "row_of", "take_in"]

WAIT_SECONDS: Final = 5.0
"""How long to wait for another process that takes in the same."""

POLL_SECONDS: Final = 0.01
"""How often to check meanwhile whether it has done so, or was killed."""


def take_in(url: str, durability: Durability) -> None:
    """Commit what ended owners have left to the journal at a URL; return when all of it is there.

    What cannot be committed now is left, and that is logged.
    """
    root = owners_folder(url)
    owners = [] if root is None else ended(root)
    if not owners:
        return
    journal = open_journal(url, durability)
    journal.in_hurry = True
    try:
        for owner in owners:
            _take_in(journal, owner)
    except (JournalError, OSError) as error:
        _warn(f"What ended processes left in {root} cannot be read yet: {error}")
    finally:
        journal.close()


@lru_cache(maxsize=16)
def _warn(text: str) -> None:
    get_logger("journal").warning(text)


def _take_in(journal: Journal, owner: DeadOwner) -> None:
    mark = owner.path / ENDED
    deadline = time.monotonic() + WAIT_SECONDS
    while mark.exists() and time.monotonic() < deadline:
        folder = owner.lock()
        if folder is None:
            time.sleep(POLL_SECONDS)
            continue
        with folder:
            # Another process may have found that it owes something.
            if mark.exists():
                _settle(journal, owner, folder, mark)
        return


def _settle(journal: Journal, owner: DeadOwner, folder: LockedFolder, mark: Path) -> None:
    try:
        end_owner(journal, owner, folder, "ended")
    except FileNotFoundError:
        # Somebody has deleted it.
        return
    if is_done(journal, folder.id):
        folder.remove()
    else:
        # Then it counts as dead, and is recovered.
        mark.unlink(missing_ok=True)


def is_done(journal: Journal, owner: str) -> bool:
    """Return whether no run that an owner keeps is unfinished, and no hook of its own is owed."""
    owed = DeliveryQuery(keeper=owner, statuses=OWED, of_workers=False, limit=1)

    return not (
        journal.runs(RunQuery(keeper=owner, unfinished=True, limit=1)) or journal.deliveries(owed)
    )


def end_owner(
    journal: Journal, owner: DeadOwner, folder: LockedFolder, reason: str
) -> OwnerRow | None:
    """Commit what an owner left and mark it as ended; return its row, if it is known.

    Raises:
        JournalError: the journal cannot be written; the rest is still in the folder.
        OSError: the folder cannot be read.
    """
    row = row_of(journal, folder.id)
    if row is None and owner.owner is not None:
        # It ended before its first commit. What is redriven needs the row to load its files.
        journal.register(owner.owner)
    # After the end of its lease another host may have taken over, and entered Crashed: what this
    # one wrote meanwhile must not replace that.
    leased = row is not None and row.lease_until is not None
    commit_spool(journal, folder.path, Fence(row.id, row.token) if row and leased else None)
    journal.end(folder.id, reason)

    return owner.owner or row


def row_of(journal: Journal, owner_id: str) -> OwnerRow | None:
    """Return the row of an owner."""
    return next((row for row in journal.owners() if row.id == owner_id), None)


def commit_spool(journal: Journal, folder: Path, fence: Fence | None = None) -> None:
    """Commit the spool of an owner that has ended, and delete each file that is committed.

    What the journal refuses is logged and deleted.

    Raises:
        JournalError: the journal cannot be written; the rest is still in the spool.
    """

    def commit(group: Group) -> None:
        try:
            journal.commit(group, folder.name, fence)
        except StaleOwnerError as error:
            log_loss(f"{group.runs} records of the spool are left out: {error}")

    for group in read_segments(folder):
        commit_in_parts(
            group, commit, lambda error: log_loss(f"A record of the spool is left out: {error}")
        )
