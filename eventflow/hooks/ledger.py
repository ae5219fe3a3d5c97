"""The ledger: where deliveries stand, and what keeps account of them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Any, Final, Protocol
from uuid import UUID

__all__ = ["OWED", "DeliveryStatus", "Ledger"]


class DeliveryStatus(StrEnum):
    """Where a delivery stands: pending → running → delivered, or failed → … → dead."""

    PENDING = "pending"
    RUNNING = "running"
    DELIVERED = "delivered"
    FAILED = "failed"
    DEAD = "dead"

    __hash__ = str.__hash__


# Named once: Python 3.11 looks a member up by calling Python code, too slow for every hook.
RUNNING: Final = DeliveryStatus.RUNNING
DELIVERED: Final = DeliveryStatus.DELIVERED
FAILED: Final = DeliveryStatus.FAILED
DEAD: Final = DeliveryStatus.DEAD

OWED: Final = (DeliveryStatus.PENDING, DeliveryStatus.RUNNING, DeliveryStatus.FAILED)
"""Of such a delivery an attempt is still to come, or to come to its end."""


class Ledger(Protocol):
    """Keeps account of what came of each delivery."""

    def settle(
        self,
        key: tuple[UUID, UUID, int],
        status: DeliveryStatus,
        attempts: int,
        error: str | None = None,
        delay: float = 0.0,
        *,
        at_once: bool = True,
    ) -> None:
        """Note an attempt's beginning or outcome; `key` is run, event and the hook's ordinal.

        `delay` is in how many seconds the next attempt may begin. What need not be written
        `at_once` may be forgotten if the process dies within a moment.
        """
        ...

    def transaction(
        self, key: tuple[UUID, UUID, int], attempts: int
    ) -> AbstractContextManager[Any]:
        """Give the journal's own transaction, which ends with this delivery's acknowledgement."""
        ...
