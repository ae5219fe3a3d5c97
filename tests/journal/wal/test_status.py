"""The status of a writer: whoever notices a change, all are told of in their order."""

from __future__ import annotations

import threading
from pathlib import Path

from eventflow.errors import JournalError
from eventflow.journal.contract import StaleOwnerError
from eventflow.journal.wal.status import Status


def test_changes_are_told_of_in_their_order() -> None:
    """One thread tells of a failure while another notices its end, which does not wait for it."""
    telling, noticed = threading.Event(), threading.Event()
    told: list[str] = []

    def on_change(error: JournalError | None, lost: int) -> None:
        telling.set()
        assert noticed.wait(30)
        told.append("again" if error is None else "failed")

    status = Status(on_change, threading.RLock())
    status.spool_failed(Path("spool"), OSError("full"))
    thread = threading.Thread(target=status.report)
    thread.start()
    assert telling.wait(30)
    status.spool_error = None
    status.report()
    assert told == []
    noticed.set()
    thread.join(30)

    assert told == ["failed", "again"]


def test_each_change_is_told_of_once() -> None:
    """Also one that a callback brings about, and a refusal."""
    told: list[str] = []

    def on_change(error: JournalError | None, lost: int) -> None:
        told.append(f"{type(error).__name__} {lost}")
        if len(told) == 1:
            status.journal_error = None
            status.report()

    status = Status(on_change, threading.RLock())
    status.journal_failed(ValueError("odd"))
    status.report()
    status.report()
    status.refuse(2, StaleOwnerError("owner", 1))
    status.report()
    status.report()

    assert told == ["JournalError 0", "NoneType 0", "StaleOwnerError 2"]
