"""The journal as the writer of one owner uses it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from eventflow.journal.contract import Fence, Group, Journal, StaleOwnerError
from eventflow.journal.rows import OwnerRow

__all__ = ["OwnerStore"]


class OwnerStore:
    """Registers the owner with its first records, and refuses more once others have ended it.

    `on_stale` is called before anyone learns of the commit that was refused first: no run begins in
    the name of the owner any more.
    """

    def __init__(
        self,
        journal: Journal,
        row: OwnerRow,
        lease_seconds: float | None,
        on_stale: Callable[[str], object],
    ) -> None:
        self.row = row
        self.registered: Fence | None = None
        """The fence under which the owner writes, once the journal knows it."""
        self.is_stale = False
        self._journal = journal
        self._lease_seconds = lease_seconds
        self._on_stale = on_stale
        self._lock = threading.RLock()

    def fence(self) -> Fence:
        """Return the fence under which the owner writes; register it if need be.

        Raises:
            JournalError: the journal cannot be written.
        """
        with self._lock:
            if self.registered is None:
                self.registered = self._journal.register(self.row, self._lease_seconds)

            return self.registered

    def commit(self, group: Group) -> None:
        """Write a group of records under the fence of the owner, whole or not at all."""
        if self.is_stale:
            raise StaleOwnerError(self.row.id, 0)
        try:
            self._journal.commit(group, self.row.id, self.fence())
        except StaleOwnerError:
            self._on_stale(self.row.id)
            raise

    @property
    def in_hurry(self) -> bool:
        """Whether the journal waits for others a moment only."""
        return self._journal.in_hurry

    @in_hurry.setter
    def in_hurry(self, value: bool) -> None:
        self._journal.in_hurry = value

    def in_transaction(self) -> bool:
        """Return whether this thread is within a hook's transaction and therefore cannot commit."""
        return self._journal.in_transaction()

    def close(self) -> None:
        """Do nothing: the session still has to end its owner, and closes the journal then."""
