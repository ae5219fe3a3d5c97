"""Group commit: rows of many runs in one transaction, made by whoever cannot wait.

Most rows only have to be written soon; a background thread does that. A row that must be
durable before its publisher goes on is committed by the publisher itself, together with all
that was waiting, so that no thread is changed on the way; publishers that come meanwhile find
their rows committed by the one that came first.
"""

from __future__ import annotations

import atexit
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias

from eventflow.errors import JournalError
from eventflow.journal import forks
from eventflow.journal.base import Batch, Fence, Journal, StaleOwnerError, UnstorableError
from eventflow.logs import get_logger

__all__ = ["Change", "Trouble", "Writer"]

Change: TypeAlias = Callable[[Batch], None]
"""Adds what it has to say to a batch. It may be called again after a failure."""

Trouble: TypeAlias = Callable[[JournalError | None, int], None]
"""Told of the error when rows cannot be written, of None when they can be again; of a
`StaleOwnerError` when it was refused; and each time how many changes are lost for good so far."""

LINGER_SECONDS: Final = 0.02
"""How long a row that nobody waits for may stay in memory."""

RETRY_SECONDS: Final = 0.5
"""How often a journal that failed is tried again."""

CAPACITY: Final = 200_000
"""How many changes are kept while the journal cannot be written; beyond, the newest are lost."""

GROUP: Final = 2_000
"""How many changes are committed together at most: other processes must have their turn."""


class Writer:
    """Collects changes and commits them in groups, in the order in which they came.

    `fence` is put on every batch. With `waits=False` (durability `off`) nobody waits for a
    commit. All methods may be called from any thread, also from within one another, as a
    finalizer does.
    """

    def __init__(
        self,
        journal: Journal,
        troubled: Trouble,
        *,
        fence: Fence | None = None,
        waits: bool = True,
        capacity: int = CAPACITY,
    ) -> None:
        self.journal = journal
        self.fence = fence
        self._troubled = troubled
        self._waits = waits
        self._capacity = capacity
        self._begin()
        forks.watch(self)

    def _begin(self) -> None:
        self.lost = 0
        self._changes: deque[Change] = deque()
        self._commit = threading.Lock()
        self._committer: int | None = None
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._error: JournalError | None = None
        self._told = False
        self._refusals: deque[JournalError] = deque()

    @property
    def down(self) -> bool:
        """Whether the journal could not be written the last time."""
        return self._error is not None

    def soon(self, change: Change) -> None:
        """Have a change written within a moment."""
        self._take(change)
        if self._thread is None:
            self._start()
        if not self._wake.is_set():
            self._wake.set()

    def now(self, change: Change) -> bool:
        """Write a change, and all that came before; says whether it is durable.

        It is not if the journal cannot be written, or must not be from here: the change is kept,
        and written later by the background thread.
        """
        if not self._waits or self._error is not None:
            # Only the background thread tries again: a run must not pay for each attempt.
            self.soon(change)
            return False
        self._take(change)

        return self.flush()

    def _take(self, change: Change) -> None:
        if len(self._changes) >= self._capacity:
            self.lost += 1
        else:
            self._changes.append(change)

    def flush(self) -> bool:
        """Write all that has come so far; says whether that worked."""
        if self._committer == threading.get_ident() or self.journal.engaged():
            # Called from within itself, or while this thread keeps the journal: others must.
            self._leave_to_the_thread()
            return False
        with self._commit:
            self._committer = threading.get_ident()
            try:
                done = self._write_all()
            finally:
                self._committer = None
        self._tell()

        return done

    def _leave_to_the_thread(self) -> None:
        if self._thread is None and not self._closing.is_set():
            self._start()
        self._wake.set()

    def _write_all(self) -> bool:
        left = len(self._changes)
        while left > 0:
            group = [self._changes.popleft() for _ in range(min(left, GROUP))]
            left -= len(group)
            try:
                self._write(group)
            except BaseException as error:
                # Nothing is lost: they go back to where they were.
                self._changes.extendleft(reversed(group))
                if not isinstance(error, JournalError):
                    raise
                self._error = error
                return False
        self._error = None

        return True

    def _write(self, group: list[Change]) -> None:
        batch = Batch(self.fence)
        for change in group:
            try:
                change(batch)
            except Exception as error:  # noqa: BLE001 - one bad change must not stop the others
                self._drop(1, error)
        try:
            self.journal.commit(batch)
        except StaleOwnerError as error:
            # It will never be right again, and what is owed is done by whoever took over.
            self._drop(len(group), error)
            self._refusals.append(error)
        except UnstorableError as error:
            if len(group) == 1:
                self._drop(1, error)
            else:
                for change in group:
                    self._write([change])

    def _drop(self, count: int, error: Exception) -> None:
        self.lost += count
        get_logger("journal").error(
            f"{count} changes are not in the journal, and will not be: {error!r}"
        )

    def _tell(self) -> None:
        while self._refusals:
            self._troubled(self._refusals.popleft(), self.lost)
        error = self._error
        if (error is not None) is not self._told:
            self._told = error is not None
            if error is not None:
                self._leave_to_the_thread()
            self._troubled(error, self.lost)

    # -- the background thread --------------------------------------------------------------

    def _start(self) -> None:
        if self._closing.is_set():
            self.flush()
            return
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._write_on, name="eventflow-journal", daemon=True
                )
                self._thread.start()
                atexit.register(self.close)

    def _write_on(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(RETRY_SECONDS if self.down else None)
            self._wake.clear()
            # Let a group gather; a thread that woke for each row would slow every publisher.
            self._closing.wait(RETRY_SECONDS if self.down else LINGER_SECONDS)
            self.flush()

    def close(self) -> bool:
        """Write what is left and end; says whether nothing is left behind.

        May be repeated. A writer can still be used afterwards: it writes everything at once.
        """
        self._closing.set()
        self._wake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self._thread = None
        atexit.unregister(self.close)
        done = self.flush()
        self.journal.close()

        return done

    # -- forks ------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Do nothing: the child begins anew, whatever the parent is about."""

    def after_fork(self, *, child: bool) -> None:
        """Begin anew in a child: what is in memory, and the fence, are the parent's."""
        if child:
            self.fence = None
            self._begin()
