"""The ledger of a claim waits for a journal that fails, and is silent once the claim is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

import pytest

from eventflow.errors import JournalError
from eventflow.hooks.ledger import DEAD, DELIVERED, FAILED, RUNNING, Failure
from eventflow.journal.claims import Claim, ClaimLostError, Outcome
from eventflow.journal.contract import Journal
from eventflow.recovery.workers.claimed import ClaimLedger

CLAIM = Claim(UUID(int=1), "a claim")
WHY = Failure("ValueError: no", 2.0)


class Journals:
    """A journal that raises these errors first, and then writes."""

    def __init__(self, *errors: JournalError) -> None:
        self.errors = [*errors]
        self.written: list[Outcome] = []

    def settle_claimed(self, claim: Claim, outcome: Outcome) -> None:
        assert claim is CLAIM
        if self.errors:
            raise self.errors.pop(0)
        self.written.append(outcome)

    @contextmanager
    def transaction(self, _settled: object, claim: Claim) -> Iterator[str]:
        assert claim is CLAIM
        yield "a connection"


def ledger_on(*errors: JournalError) -> tuple[ClaimLedger, Journals]:
    journal = Journals(*errors)

    return ClaimLedger(cast("Journal", journal), CLAIM), journal


def test_an_outcome_waits_for_the_journal(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With longer and longer pauses, and one line in the log."""
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    ledger, journal = ledger_on(*[JournalError("It is away.") for _ in range(7)])
    ledger.settle_at(2, 0, FAILED, 1, WHY)

    assert journal.written == [Outcome(2, 0, FAILED, 1, "ValueError: no", 2.0)]
    assert (ledger.status, ledger.error) == (FAILED, "ValueError: no")
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert caplog.text.count("It is away.") == 1


def test_a_claim_that_is_lost() -> None:
    """Its run is given up, and the last outcome that was recorded stays."""
    ledger, journal = ledger_on()
    ledger.settle_at(2, 0, RUNNING, 1, Failure(""))
    run: Any = None
    assert not ledger.has_given_up(run)
    journal.errors.append(ClaimLostError(CLAIM))
    with pytest.raises(ClaimLostError):
        ledger.settle_at(2, 0, DELIVERED, 1, Failure(""))

    assert ledger.has_given_up(run)
    assert (ledger.is_lost, ledger.status) == (True, RUNNING)


def test_nothing_follows_a_delivery() -> None:
    """Whatever the hook raises after the transaction that has acknowledged it."""
    ledger, journal = ledger_on()
    ledger.settle_at(2, 0, DELIVERED, 1, Failure(""))
    ledger.settle_at(2, 0, DEAD, 1, WHY)

    assert [outcome.status for outcome in journal.written] == [DELIVERED]
