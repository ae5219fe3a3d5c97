"""Claims: of all workers, one at a time runs what a run owes to hooks that are left to workers.

A claim is of one run, so that its hooks are called in order. It is over when its lease is, unless
that is renewed: then any worker may claim the run, and the one before acknowledges nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from eventflow.errors import JournalError
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.rows import DeliveryRow

__all__ = ["FOR_WORKERS", "Claim", "ClaimLostError", "Claimed", "Claiming", "Outcome"]

FOR_WORKERS: Final = "~"
"""Begins the id of a list that has hooks which a worker runs; the others have no such character."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's claim of a run; `id` is never used again."""

    run_id: UUID
    id: str


class Claimed(NamedTuple):
    """A claim, and the delivery that the worker runs next."""

    claim: Claim
    delivery: DeliveryRow


class Outcome(NamedTuple):
    """The beginning or the end of an attempt: number `attempts` of the delivery.

    Of a failed one that is tried again, `delay` is after how many seconds.
    """

    sequence: int
    ordinal: int
    status: DeliveryStatus
    attempts: int
    error: str | None = None
    delay: float = 0.0


class ClaimLostError(JournalError):
    """The lease of a claim is over; whatever the worker has done is not acknowledged."""

    def __init__(self, claim: Claim) -> None:
        super().__init__(
            f"The lease of the claim {claim.id} is over: what the run {claim.run_id} owes is "
            "another worker's, and nothing was acknowledged."
        )


class Claiming(Protocol):
    """How workers claim what is owed to the hooks that are left to them."""

    def claim_delivery(self, hooks: Sequence[str], lease_seconds: float) -> Claimed | None:
        """Claim the oldest delivery to a hook that matches one of these globs; None if none is due.

        Of a run only the first that is owed is claimed, and only while no other worker has a claim
        of that run: its hooks are called one at a time, in order, as far as the globs match.
        """
        ...

    def renew_claim(self, claim: Claim, lease_seconds: float) -> bool:
        """Prolong the lease of a claim; return False if it is over."""
        ...

    def settle_claimed(self, claim: Claim, outcome: Outcome) -> None:
        """Record the beginning of an attempt, or its end, which ends the claim.

        Raises:
            ClaimLostError: the lease is over; nothing was written.
        """
        ...

    def release_claim(self, claim: Claim) -> None:
        """End a claim, if it is not over: any worker may claim the run at once."""
        ...
