"""The ledger: the status of deliveries, and the protocol of what records it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Any, Final, Protocol
from uuid import UUID

from eventflow.runs.run import Run

__all__ = ["OWED", "DeliveryStatus", "Ledger"]


class DeliveryStatus(StrEnum):
    """The status of a delivery: pending → running → delivered, or failed → … → dead."""

    PENDING = "pending"
    RUNNING = "running"
    DELIVERED = "delivered"
    FAILED = "failed"
    DEAD = "dead"

    __hash__ = str.__hash__


# Constants, as the lookup of an enum member calls Python code in Python 3.11.
RUNNING: Final = DeliveryStatus.RUNNING
DELIVERED: Final = DeliveryStatus.DELIVERED
FAILED: Final = DeliveryStatus.FAILED
DEAD: Final = DeliveryStatus.DEAD

OWED: Final = (DeliveryStatus.PENDING, DeliveryStatus.RUNNING, DeliveryStatus.FAILED)
"""The statuses of a delivery with an attempt to begin or to end."""


class Ledger(Protocol):
    """Records the outcome of each delivery."""

    def settle(
        self,
        run: Run,
        place: tuple[UUID, int],
        status: DeliveryStatus,
        attempts: int,
        *,
        error: str | None = None,
        delay: float = 0.0,
        at_once: bool = True,
    ) -> None:
        """Record an attempt's beginning or outcome; `place` is the event and the hook's ordinal.

        `delay` is in how many seconds the next attempt may begin. What need not be written
        `at_once` may be lost if the process dies within a moment.
        """
        ...

    def has_given_up(self, run: Run) -> bool:
        """Return whether another owner has taken the run over, and runs its hooks."""
        ...

    def transaction(
        self, run: Run, place: tuple[UUID, int], attempts: int
    ) -> AbstractContextManager[Any]:
        """Return a transaction of the journal that commits with this delivery's acknowledgement."""
        ...
