"""The ledger: the status of deliveries, and the protocol of what records it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol

from eventflow.hooks.declaration import Hook
from eventflow.runs.run import Run

__all__ = ["LASTED", "OWED", "WORKERS", "Attempt", "DeliveryStatus", "Failure", "Ledger"]


class DeliveryStatus(StrEnum):
    """The status of a delivery: pending → running → delivered, or failed → … → dead."""

    PENDING = "pending"
    RUNNING = "running"
    DELIVERED = "delivered"
    FAILED = "failed"
    DEAD = "dead"

    __hash__ = str.__hash__


# Constants, as the lookup of an enum member calls Python code in Python 3.11.
PENDING: Final = DeliveryStatus.PENDING
RUNNING: Final = DeliveryStatus.RUNNING
DELIVERED: Final = DeliveryStatus.DELIVERED
FAILED: Final = DeliveryStatus.FAILED
DEAD: Final = DeliveryStatus.DEAD

OWED: Final = (DeliveryStatus.PENDING, DeliveryStatus.RUNNING, DeliveryStatus.FAILED)
"""The statuses of a delivery with an attempt to begin or to end."""


LASTED: Final = 1 << 14
"""The first ordinal of hooks that are owed a state because it has lasted, beyond all others."""

WORKERS: Final = 3 << 13
"""The first ordinal of hooks that a worker runs, beyond those of all hooks that the owner runs."""


class Attempt(Protocol):
    """An attempt to run a hook that a transition of a run is owed to."""

    @property
    def run(self) -> Run:
        """The run."""
        ...

    @property
    def sequence(self) -> int:
        """The sequence of the transition."""
        ...

    @property
    def ordinal(self) -> int:
        """The place of the hook among those that it is owed to."""
        ...

    @property
    def hook(self) -> Hook:
        """The hook."""
        ...

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1 on."""
        ...


class Failure(NamedTuple):
    """The error of a failed attempt, and in how many seconds the next one may begin."""

    error: str
    delay: float = 0.0


class Ledger(Protocol):
    """Records the outcome of each delivery."""

    @property
    def has_workers(self) -> bool:
        """Whether other processes can read what is recorded, so that hooks are left to workers."""
        ...

    def settle(self, attempt: Attempt, status: DeliveryStatus, why: Failure | None = None) -> None:
        """Record the beginning or the outcome of an attempt; of a failed one, `why` it failed."""
        ...

    def has_given_up(self, run: Run) -> bool:
        """Return whether another owner has taken the run over, and runs its hooks."""
        ...

    def transaction(self, attempt: Attempt) -> AbstractContextManager[Any]:
        """Return a transaction of the journal that commits with the attempt's acknowledgement."""
        ...
