"""Claiming what is owed to hooks that workers run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from eventflow.hooks.ledger import RUNNING, WORKERS
from eventflow.journal.claims import Claim, Claimed, Claiming, Outcome
from eventflow.journal.history import delivery_row
from eventflow.journal.records import Settled, run_hex
from eventflow.journal.stores.statements import SETTLED, Session, check
from eventflow.primitives.ids import id_of, new_id

__all__ = ["SqlClaims", "end_claim"]

T = TypeVar("T")

# In the words of the index.
OWED: Final = f"d.ordinal >= {WORKERS} AND d.status <> 'delivered' AND d.status <> 'dead'"
FIRST: Final = "ORDER BY d.run_id, d.sequence, d.ordinal LIMIT 1"
# Subqueries of one value, evaluated for each row as the index is read: a server without statistics
# of the table would join all that is owed for the first of it.
FREE: Final = "coalesce((SELECT c.lease_until FROM @claims c WHERE c.run_id = d.run_id), 0) <= ?"
FIRST_OF_RUN: Final = (
    "(d.sequence, d.ordinal) = (SELECT e.sequence, e.ordinal FROM @deliveries e"
    f" WHERE e.run_id = d.run_id AND {OWED.replace('d.', 'e.')} AND {{}}"
    " ORDER BY e.sequence, e.ordinal LIMIT 1)"
)
CLAIM: Final = (
    "INSERT INTO @claims VALUES (?, ?, ?) ON CONFLICT (run_id) DO UPDATE SET id = excluded.id,"
    " lease_until = excluded.lease_until WHERE @claims.lease_until <= ?"
)
SETTLE: Final = (
    "UPDATE @deliveries SET status = ?, attempts = ?, updated = ?, due = ?, error = ?"
    " WHERE run_id = ? AND sequence = ? AND ordinal = ? AND status <> 'delivered'"
)


class SqlClaims(Claiming, ABC):
    """The methods of `Claiming` in an SQL database."""

    @abstractmethod
    def transact(self, work: Callable[[Session], T]) -> T:
        """Call `work` in a transaction of its own."""

    def claim_delivery(self, hooks: Sequence[str], lease_seconds: float) -> Claimed | None:
        return self.transact(lambda session: _claim(session, hooks, lease_seconds))

    def renew_claim(self, claim: Claim, lease_seconds: float) -> bool:
        text = "UPDATE @claims SET lease_until = ? WHERE run_id = ? AND id = ? AND lease_until > ?"

        def work(session: Session) -> int:
            now = session.now()
            until = now + int(lease_seconds * 1e6)
            return session.run(text, (until, *_key(session, claim), now))

        return self.transact(work) == 1

    def settle_claimed(self, claim: Claim, outcome: Outcome) -> None:
        self.transact(lambda session: _settle(session, claim, outcome))

    def release_claim(self, claim: Claim) -> None:
        self.transact(lambda session: end_claim(session, claim))


def _key(session: Session, claim: Claim) -> tuple[Any, str]:
    return session.id(claim.run_id.int), claim.id


def end_claim(session: Session, claim: Claim) -> None:
    """End a claim, if it is not another one's by now."""
    session.run("DELETE FROM @claims WHERE run_id = ? AND id = ?", _key(session, claim))


def _claim(session: Session, hooks: Sequence[str], lease_seconds: float) -> Claimed | None:
    matching, globs = _matching(session, hooks)
    earlier, _ = _matching(session, hooks, "e")
    now = session.now()
    first = (
        f"SELECT d.run_id FROM @deliveries d WHERE {OWED} AND {matching}"
        f" AND (d.due IS NULL OR d.due <= ?) AND {FREE} AND {FIRST_OF_RUN.format(earlier)}"
        f" {FIRST}{session.FOR_UPDATE_OF.format('d')}"
    )
    while found := session.all(first, (*globs, now, now, *globs)):
        ((key,),) = found
        claim = Claim(id_of(session.number(key)), new_id().hex)
        until = now + int(lease_seconds * 1e6)
        if session.run(CLAIM, (key, claim.id, until, now)):
            # Once more, now that nobody else settles what this run owes.
            text = f"{SETTLED} d WHERE d.run_id = ? AND {OWED} AND {matching} {FIRST}"
            for row in session.all(text, (key, *globs)):
                settled = Settled(run_hex(session.number(key)), *row[1:])
                if settled.due is None or settled.due <= now:
                    return Claimed(claim, delivery_row(session.number(key), settled, None))
            end_claim(session, claim)
        now = session.now()

    return None


def _matching(session: Session, hooks: Sequence[str], table: str = "d") -> tuple[str, list[str]]:
    conditions = [session.glob(f"{table}.hook", pattern) for pattern in hooks]
    either = " OR ".join(condition for condition, _ in conditions)

    return f"({either})" if either else "(1 = 1)", [value for _, value in conditions]


def _settle(session: Session, claim: Claim, outcome: Outcome) -> None:
    check(session, claim)
    now = session.now()
    due = now + int(outcome.delay * 1e6) if outcome.delay else None
    status = outcome.status
    session.run(
        SETTLE,
        (
            *(status._value_, outcome.attempts, now, due, outcome.error),
            *(session.id(claim.run_id.int), outcome.sequence, outcome.ordinal),
        ),
    )
    if status is not RUNNING:
        end_claim(session, claim)
