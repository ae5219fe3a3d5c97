"""Whether records can be written, how many are lost, and who is told when that changes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from eventflow.errors import JournalError
from eventflow.journal.contract import StaleOwnerError
from eventflow.primitives.loggers import get_logger

__all__ = ["Status", "StatusCallback", "log_loss"]

StatusCallback: TypeAlias = Callable[[JournalError | None, int], None]
"""Called with the error when records cannot be written, with None when they can be again, and with
a `StaleOwnerError` when the journal refused them; the number is how many are lost so far."""


class Status:
    """The state of a writer's journal and of its spool, under the lock of the writer.

    `on_change` is called by `report` only, without the lock.
    """

    def __init__(self, on_change: StatusCallback, lock: threading.RLock) -> None:
        self.lost = 0
        self.journal_error: JournalError | None = None
        self.spool_error: JournalError | None = None
        self._on_change = on_change
        self._lock = lock
        self._reported_down = False
        self._overflowed = False
        # What is not told yet, and whoever tells it: in their order, by one thread at a time.
        self._changes: deque[JournalError | None] = deque()
        self._telling = threading.Lock()

    @property
    def error(self) -> JournalError | None:
        """Why records could not be written last; None if they could."""
        return self.journal_error or self.spool_error

    def spool_failed(self, folder: Path, error: OSError) -> None:
        """Note why the last record could not be written to the spool."""
        self.spool_error = JournalError(
            f"The spool of the journal in {folder} cannot be written: {error}."
        )

    def journal_failed(self, error: Exception) -> None:
        """Note why the last records could not be committed."""
        if not isinstance(error, JournalError):
            error = JournalError(f"The journal cannot be written: {error!r}.")
        self.journal_error = error

    def overflow(self) -> None:
        """Count a record for which there is no room anywhere."""
        with self._lock:
            self.lost += 1
            self._overflowed = True

    def discard(self, count: int, error: Exception) -> None:
        """Count and log records that the journal will never take."""
        with self._lock:
            self.lost += count
        log_loss(f"{count} records are not in the journal, and will not be: {error!r}")

    def refuse(self, count: int, error: StaleOwnerError) -> None:
        """Count records that the journal refused; whoever took over does what is owed."""
        self.discard(count, error)
        self._changes.append(error)

    def report(self) -> None:
        """Tell of refusals, and of a failure or its end, each of them once.

        If another thread is telling, it tells of these too: in their order, and nobody waits.
        """
        with self._lock:
            error = self.error
            if (error is not None) is not self._reported_down:
                self._changes.append(error)
            self._reported_down = error is not None
            overflowed, self._overflowed = self._overflowed, False
        if overflowed:
            log_loss(f"There is no room for more records; {self.lost} are lost so far")
        while self._changes and self._telling.acquire(blocking=False):
            try:
                while self._changes:
                    self._on_change(self._changes.popleft(), self.lost)
            finally:
                self._telling.release()


def log_loss(message: str) -> None:
    """Log that records are lost."""
    get_logger("journal").error(message)
