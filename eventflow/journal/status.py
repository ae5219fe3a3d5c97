"""Whether lines can be written, how many are lost, and who is told when that changes."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path

from eventflow.errors import JournalError
from eventflow.journal.backlog import StatusCallback, log_loss
from eventflow.journal.contract import StaleOwnerError

__all__ = ["Status"]


class Status:
    """The state of a writer's journal and of its spool; `on_change` is called by `report` only."""

    def __init__(self, on_change: StatusCallback) -> None:
        self.lost = 0
        self.journal_error: JournalError | None = None
        self.spool_error: JournalError | None = None
        self._on_change = on_change
        # Reentrant: a signal handler or a finalizer may append lines.
        self._lock = threading.RLock()
        self._reported_down = False
        self._overflowed = False
        self._refusals: deque[StaleOwnerError] = deque()

    @property
    def error(self) -> JournalError | None:
        """Why lines could not be written last; None if they could."""
        return self.journal_error or self.spool_error

    def spool_failed(self, folder: Path, error: OSError) -> None:
        """Note why the last line could not be written to the spool."""
        self.spool_error = JournalError(
            f"The spool of the journal in {folder} cannot be written: {error}."
        )

    def journal_failed(self, error: Exception) -> None:
        """Note why the last lines could not be committed."""
        if not isinstance(error, JournalError):
            error = JournalError(f"The journal cannot be written: {error!r}.")
        self.journal_error = error

    def overflow(self) -> None:
        """Count a line for which there is no room anywhere."""
        with self._lock:
            self.lost += 1
            self._overflowed = True

    def discard(self, count: int, error: Exception) -> None:
        """Count and log lines that the journal will never take."""
        with self._lock:
            self.lost += count
        log_loss(f"{count} lines are not in the journal, and will not be: {error!r}")

    def refuse(self, count: int, error: StaleOwnerError) -> None:
        """Count lines that the journal refused; whoever took over does what is owed."""
        self.discard(count, error)
        self._refusals.append(error)

    def report(self) -> None:
        """Tell of refusals, and of a failure or its end, each of them once."""
        with self._lock:
            refusals = [self._refusals.popleft() for _ in range(len(self._refusals))]
            error = self.error
            changed = (error is not None) is not self._reported_down
            self._reported_down = error is not None
            overflowed, self._overflowed = self._overflowed, False
        if overflowed:
            log_loss(f"There is no room for more lines; {self.lost} are lost so far")
        for refusal in refusals:
            self._on_change(refusal, self.lost)
        if changed:
            self._on_change(error, self.lost)
