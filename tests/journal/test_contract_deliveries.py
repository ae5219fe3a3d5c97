"""Every journal keeps what is owed to hooks, and lets a hook commit with its acknowledgement."""

from __future__ import annotations

from typing import Any

import pytest
from uuid_utils.compat import uuid7

from eventflow.errors import JournalError
from eventflow.hooks.ledger import OWED, DeliveryStatus
from eventflow.journal.contract import (
    DeliveryQuery,
    Fence,
    Journal,
    RunQuery,
    StaleOwnerError,
)
from eventflow.journal.rows import DeliveryRow
from eventflow.states import StateType
from tests.journal.rows import (
    ENDED,
    NOW,
    a_delivery,
    a_run,
    an_owner,
    entering,
    ids,
    later,
    settled,
    settling,
)

D = DeliveryStatus


def test_deliveries_come_in_the_order_in_which_they_are_owed(journal: Journal) -> None:
    """Those of one run by event, then in order of declaration; they can be selected by status."""
    begun = a_run()
    done = later(begun, StateType.COMPLETED, ends=True)
    first = a_delivery(begun)
    third, second = a_delivery(done, ordinal=1), a_delivery(done, ordinal=0)
    journal.commit_lines([entering(done, third, second)])
    journal.commit_lines([entering(begun, first)])

    assert ids(journal.deliveries(DeliveryQuery())) == ids([first, second, third])
    assert journal.deliveries(DeliveryQuery(id=second.id)) == [second]
    assert journal.deliveries(DeliveryQuery(keeper="unknown")) == []
    assert len(journal.deliveries(DeliveryQuery(keeper="owner", limit=2))) == 2
    journal.commit_lines([settling(settled(first, D.DEAD, 3, error="no", due=NOW))])
    assert ids(journal.deliveries(DeliveryQuery(statuses=OWED))) == ids([second, third])
    dead = journal.deliveries(DeliveryQuery(statuses=[D.DEAD]))
    assert dead == [first._replace(status=D.DEAD, attempts=3, error="no", due=NOW, updated=NOW)]


def test_what_was_delivered_stays_delivered(journal: Journal) -> None:
    """A late settlement does not change it."""
    run = a_run()
    delivery = a_delivery(run)
    journal.commit_lines([entering(run, delivery)])
    journal.commit_lines([settling(settled(delivery, D.DELIVERED))])

    journal.commit_lines([settling(settled(delivery, D.FAILED, 2))])

    assert journal.deliveries(DeliveryQuery())[0].status is D.DELIVERED


def test_a_dead_delivery_can_be_redriven(journal: Journal) -> None:
    """It is pending with all its attempts, and its run can be claimed though its owner is alive."""
    owner, heir = journal.register(an_owner()), journal.register(an_owner("heir"))
    run = a_run(**ENDED)
    dead, fine = a_delivery(run), a_delivery(run, ordinal=1)
    journal.commit_lines([entering(run, dead, fine)], owner)
    outcomes = [settled(dead, D.DEAD, 3), settled(fine, D.DELIVERED)]
    journal.commit_lines([settling(*outcomes)], owner)

    assert journal.redrive([dead.id, fine.id, uuid7()]) == 1

    (revived,) = journal.deliveries(DeliveryQuery(statuses=[D.PENDING]))
    assert (revived.id, revived.attempts) == (dead.id, 0)
    # Without a keeper, until an owner claims it.
    assert ids(journal.runs(RunQuery(keeper=""))) == [run.id]
    assert ids(journal.claim(heir)) == [run.id]
    assert journal.runs(RunQuery(keeper="")) == []


def owed(journal: Journal, fence: Fence | None = None) -> DeliveryRow:
    run = a_run()
    delivery = a_delivery(run)
    journal.commit_lines([entering(run, delivery)], fence)

    return delivery


def payments(connection: Any) -> int:
    return int(connection.execute("SELECT count(*) FROM payments").fetchone()[0])


def test_a_hooks_rows_are_committed_with_its_acknowledgement(journal: Journal) -> None:
    """Both are there after the block, or neither if the block raises."""
    paid, unpaid = owed(journal), owed(journal)
    with journal.transaction(settled(paid, D.DELIVERED)) as connection:
        connection.execute("CREATE TABLE payments (id INTEGER)")
        connection.execute("INSERT INTO payments VALUES (1)")

    with (
        pytest.raises(ZeroDivisionError),
        journal.transaction(settled(unpaid, D.DELIVERED)) as connection,
    ):
        connection.execute("INSERT INTO payments VALUES (2)")
        _ = 1 // 0

    assert ids(journal.deliveries(DeliveryQuery(statuses=[D.DELIVERED]))) == [paid.id]
    with journal.transaction(settled(unpaid, D.DELIVERED)) as connection:
        assert payments(connection) == 1


def test_a_hook_does_its_work_once_even_if_it_runs_twice(journal: Journal) -> None:
    """The rows of the second acknowledgement are rolled back."""
    delivery = owed(journal)
    with journal.transaction(settled(delivery, D.DELIVERED)) as connection:
        connection.execute("CREATE TABLE payments (id INTEGER)")

    with (
        pytest.raises(JournalError, match="delivered already"),
        journal.transaction(settled(delivery, D.DELIVERED)) as connection,
    ):
        connection.execute("INSERT INTO payments VALUES (1)")

    with journal.transaction(settled(owed(journal), D.DELIVERED)) as connection:
        assert payments(connection) == 0


def test_a_stale_owner_has_no_transaction(journal: Journal) -> None:
    """Its rows are rolled back with its acknowledgement."""
    fence = journal.register(an_owner())
    delivery = owed(journal, fence)
    journal.end("owner", "vanished")

    with (
        pytest.raises(StaleOwnerError),
        journal.transaction(settled(delivery, D.DELIVERED), fence),
    ):
        pass

    assert journal.deliveries(DeliveryQuery()) == [delivery]


def test_a_hook_cannot_end_the_transaction_itself(journal: Journal) -> None:
    """Its own commit would separate its rows from the acknowledgement."""
    delivery = owed(journal)

    with (
        pytest.raises(Exception, match=r"not authorized|forbidden"),
        journal.transaction(settled(delivery, D.DELIVERED)) as connection,
    ):
        connection.execute("CREATE TABLE payments (id INTEGER)")
        connection.commit()

    assert journal.deliveries(DeliveryQuery()) == [delivery]


def test_within_a_transaction_nothing_else_is_committed(journal: Journal) -> None:
    """The thread would wait for itself: it gets an error at once, and can ask beforehand."""
    assert not journal.in_transaction()
    with journal.transaction(settled(owed(journal), D.DELIVERED)):
        assert journal.in_transaction()
        with pytest.raises(JournalError, match="hook's own"):
            journal.commit_lines([entering(a_run())])
        with pytest.raises(JournalError, match="already"), journal.transaction(settled_other()):
            pass
    assert not journal.in_transaction()
    journal.commit_lines([entering(a_run())])


def settled_other() -> Any:
    return settled(a_delivery(a_run()), D.DELIVERED)
