"""The journal as the writer of one owner uses it."""

from __future__ import annotations

from typing import Protocol

from eventflow.journal.contract import Fence, Group, Journal, StaleOwnerError

__all__ = ["OwnerStore"]


class _Session(Protocol):
    @property
    def journal(self) -> Journal: ...

    def fence(self) -> Fence: ...

    def resign(self, owner: str) -> None: ...


class OwnerStore:
    """Registers the owner with its first records; refuses them once the session has another owner.

    If others have ended the owner, the session has another before anyone learns of a commit: no run
    begins in the name of the old one any more.
    """

    def __init__(self, owner: str, session: _Session) -> None:
        self._owner = owner
        self._session = session

    def commit(self, group: Group, fence: Fence | None = None) -> None:
        """Write a group of records, whole or not at all."""
        fence = fence or self._session.fence()
        if fence.owner != self._owner:
            raise StaleOwnerError(self._owner, 0)
        try:
            self._session.journal.commit(group, self._owner, fence)
        except StaleOwnerError:
            self._session.resign(self._owner)
            raise

    @property
    def in_hurry(self) -> bool:
        """Whether the journal waits for others a moment only."""
        return self._session.journal.in_hurry

    @in_hurry.setter
    def in_hurry(self, value: bool) -> None:
        self._session.journal.in_hurry = value

    def in_transaction(self) -> bool:
        """Return whether this thread is within a hook's transaction and therefore cannot commit."""
        return self._session.journal.in_transaction()

    def close(self) -> None:
        """Do nothing: the session still has to end its owner, and closes the journal then."""
