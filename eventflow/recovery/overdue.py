"""Deliver what a living owner does not because it is stuck: hooks of states that last too long."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from eventflow.errors import JournalError
from eventflow.hooks.ledger import OWED
from eventflow.journal.contract import DeliveryQuery, Journal
from eventflow.journal.rows import DeliveryRow
from eventflow.journal.wal.spool import commit_in_parts, peek_segments
from eventflow.owners.claims import claim, is_guardians
from eventflow.owners.folders import DeadOwner
from eventflow.owners.leftovers import row_of
from eventflow.owners.locks import lock
from eventflow.owners.note import set_next_due
from eventflow.recovery.delivering import Finished, Progress
from eventflow.recovery.finishing import Finisher
from eventflow.recovery.lookup import Lookup
from eventflow.recovery.owner import SILENT, recorder_of_recovery
from eventflow.recovery.reloading.loading import LoadingNote, Reloader, adopt_environment
from eventflow.settings import EVENTFLOW_GUARDIAN_GRACE_SECONDS

__all__ = ["deliver_due"]

LOCK: Final = "lasting"
"""The file in an owner's folder that is locked meanwhile: a guardian may have been replaced."""


def deliver_due(path: Path, handed_over: Mapping[str, bytes], note: int) -> Finished:
    """Deliver what is due by now, and note when there will be more.

    `note` is the descriptor of the guardian's note.

    Raises:
        JournalError: the journal cannot be used.
        OSError: the folder cannot be read.
    """
    owner = DeadOwner.read(path)
    held = lock(path / LOCK)
    if held is None or owner.owner is None:
        return Finished()
    recorder = recorder_of_recovery()
    journal = recorder.journal
    grace = timedelta(seconds=EVENTFLOW_GUARDIAN_GRACE_SECONDS.value())
    try:
        _commit_copies(journal, path)
        adopt_environment(owner.owner)
        progress = Progress(lambda _: None)
        lookup = Lookup(
            journal.hook_sets(owner.id),
            Reloader(owner.owner, LoadingNote(None, progress.tell)),
            handed_over,
        )
        finisher = Finisher(recorder, lookup, "", progress, datetime.now(UTC) - grace)
        finisher.deliver_due(owner.id, partial(_claimed, journal, path))
        recorder.flush()
        due = finisher.next_due(owner.id)
        seconds = None if due is None else (due + grace - datetime.now(UTC)).total_seconds()
        set_next_due(note, None if seconds is None else time.monotonic() + max(0.0, seconds))
    finally:
        held.release()

    return progress.finished


def _commit_copies(journal: Journal, folder: Path) -> None:
    """Commit what the owner has recorded, which it will do as well: that changes nothing then."""
    for group in peek_segments(folder):
        with suppress(JournalError):
            commit_in_parts(group, lambda part: journal.commit(part, folder.name), lambda _: None)


def _claimed(journal: Journal, folder: Path, owed: DeliveryRow) -> bool:
    """Return whether a delivery is this process's: claimed, and not delivered before that."""
    if not claim(folder, owed.id.hex, guardian=True):
        return False
    # The owner gives its claim up once it has recorded the outcome.
    _commit_copies(journal, folder)
    rows = journal.deliveries(DeliveryQuery(id=owed.id))
    if not is_guardians(folder, owed.id.hex) or any(row.status not in OWED for row in rows):
        return False

    # Another host may have taken its runs over.
    owner = row_of(journal, folder.name)

    return owner is None or owner.reason != SILENT
