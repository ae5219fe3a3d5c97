"""Every journal keeps what is owed to hooks, and lets a hook commit with its acknowledgement."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

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
from eventflow.journal.records import Acknowledged, pack, run_hex
from eventflow.journal.rows import DeliveryRow
from tests.journal.rows import (
    AT,
    HOOK,
    NOW,
    SECOND,
    ARun,
    a_completed_run,
    an_owner,
    commit,
    ids,
)

D = DeliveryStatus
OTHER = ("alerts:other", 0)


def statuses(journal: Journal, **query: Any) -> list[tuple[str, int]]:
    return [(str(row.status), row.attempts) for row in journal.deliveries(DeliveryQuery(**query))]


def test_the_acknowledgement_of_a_run_tells_the_status_of_its_deliveries(journal: Journal) -> None:
    """Those before `done` are delivered, those before `begun` are running, the rest is pending."""
    run = ARun()
    commit(journal, run.enter("PRC", HOOK, OTHER, HOOK, begun=2, done=1))

    rows = journal.deliveries(DeliveryQuery(run_id=run.id))

    assert [(row.hook, row.importable) for row in rows] == [
        *(("alerts:page", True), ("alerts:other", False), ("alerts:page", True))
    ]
    assert statuses(journal) == [("delivered", 1), ("running", 1), ("pending", 0)]
    assert [row.updated for row in rows] == [run.moment(), run.moment(), None]
    assert ids(rows) == [run.delivery_id(ordinal) for ordinal in range(3)]
    assert {row.event_id for row in rows} == {run.event_id()}


def test_an_acknowledgement_never_goes_backwards(journal: Journal) -> None:
    """Whichever comes last; one for another transition changes nothing."""
    run = ARun()
    commit(journal, run.enter("PRC", HOOK, HOOK))
    commit(journal, run.acknowledge(2, 1), run.acknowledge(1, 1))
    commit(journal, run.acknowledge(1, 0))
    other = Acknowledged(run_hex(run.number), 1, 2, 2, 2, AT)
    commit(journal, pack("A", other))

    assert statuses(journal) == [("delivered", 1), ("running", 1)]


def test_a_transition_before_the_last_one_was_delivered(journal: Journal) -> None:
    """At the time that is told, or at the latest when the next one was made."""
    run, silent = ARun(), ARun()
    commit(journal, run.enter("PR", HOOK, done=1), silent.enter("PR", HOOK))
    commit(journal, run.enter("C", HOOK, events=f"+{AT + 5}\n!2\nC{2 * SECOND}", begun=1))
    commit(journal, silent.enter("C"))

    rows = journal.deliveries(DeliveryQuery(run_id=run.id))
    assert [(row.sequence, str(row.status)) for row in rows] == [(1, "delivered"), (2, "running")]
    assert rows[0].updated == NOW + timedelta(microseconds=5)
    assert [row.id for row in rows] == [run.delivery_id(sequence=1), run.delivery_id()]
    (row,) = journal.deliveries(DeliveryQuery(run_id=silent.id))
    assert (row.status, row.attempts, row.updated) == (D.DELIVERED, 1, silent.moment(2))


def test_deliveries_come_in_the_order_in_which_they_are_owed(journal: Journal) -> None:
    """Those of one run by transition, then in order of declaration; or the other way round."""
    run, last = ARun(), ARun()
    commit(journal, run.enter("PR", HOOK), run.enter("C", HOOK, OTHER), last.enter("PF", HOOK))
    expected = [
        run.delivery_id(sequence=1),
        run.delivery_id(),
        run.delivery_id(1),
        last.delivery_id(),
    ]

    def selected(**query: Any) -> list[UUID]:
        return ids(journal.deliveries(DeliveryQuery(**query)))

    assert selected() == expected
    assert selected(newest=True) == expected[::-1]
    assert selected(limit=2) == expected[:2]
    assert selected(newest=True, limit=3) == expected[:0:-1]
    assert selected(run_id=run.id) == expected[:3]
    assert selected(hook="*:other") == [expected[2]]
    assert selected(hook="[!x]lerts:pag?") == [expected[0], expected[1], expected[3]]
    assert selected(keeper="unknown") == []
    assert selected(keeper="owner", limit=2) == expected[:2]
    for key in expected:
        assert selected(id=key) == [key]
        assert key in selected(id_part=key.hex[-4:])
        assert key in selected(id_part=key.hex[-6:])
        assert key in selected(id_part=key.hex[:14])
        assert selected(id_part=key.hex[-20:]) == selected(id_part=key.hex) == [key]
    assert selected(id=uuid7()) == []


def test_deliveries_are_selected_by_status(journal: Journal) -> None:
    """Whether that has a row of its own, or is told by the acknowledgement."""
    fence = journal.register(an_owner())
    failed, _ = made = a_completed_run(HOOK, OTHER, done=0)
    done, records = a_completed_run(HOOK)
    running = ARun()
    commit(journal, made[1], records, running.enter("PR", HOOK, HOOK), fence=fence)
    commit(journal, failed.settle(D.DEAD, 3, error="no", due=AT), fence=fence)
    commit(journal, failed.acknowledge(2, 1), fence=fence)

    def selected(*wanted: DeliveryStatus) -> list[UUID]:
        return ids(journal.deliveries(DeliveryQuery(statuses=wanted)))

    assert selected(D.DELIVERED) == [done.delivery_id()]
    assert selected(D.RUNNING) == [failed.delivery_id(1), running.delivery_id()]
    assert selected(D.PENDING) == [running.delivery_id(1)]
    assert selected(*OWED) == [failed.delivery_id(1), running.delivery_id(), running.delivery_id(1)]
    assert selected(D.FAILED) == []
    assert selected(D.DEAD, D.DELIVERED) == [failed.delivery_id(), done.delivery_id()]
    (dead,) = journal.deliveries(DeliveryQuery(statuses=[D.DEAD]))
    assert dead == DeliveryRow(
        *(failed.delivery_id(), failed.event_id(), failed.id, 2, 0, "alerts:page"),
        importable=True,
        status=D.DEAD,
        attempts=3,
        due=NOW,
        error="no",
        updated=NOW,
    )
    assert journal.verify() == []
    counts = {"delivered": 1, "dead": 1, "running": 2, "pending": 1}
    assert journal.statistics().deliveries == dict(sorted(counts.items()))


def test_very_many_deliveries_are_searched(journal: Journal) -> None:
    """Also where more than are read at a time do not match."""
    made = [a_completed_run(HOOK) for _ in range(1200)]
    other, records = a_completed_run(OTHER)
    commit(journal, records, *(records for _, records in made))

    assert ids(journal.deliveries(DeliveryQuery(hook="*:other", newest=True))) == [
        other.delivery_id()
    ]
    assert len(journal.deliveries(DeliveryQuery(hook="*:page", limit=9999))) == 1200


def test_a_glob_may_match_any_number_of_lists_of_hooks(journal: Journal) -> None:
    """More of them than a statement can have conditions; the others are left out."""
    runs = [a_completed_run((f"alerts:{number}", 1)) for number in range(1_200)]
    commit(journal, *(records for _, records in runs), a_completed_run(("other:one", 1))[1])

    assert len(journal.deliveries(DeliveryQuery(hook="alerts:*", limit=9999))) == len(runs)
    (row,) = journal.deliveries(DeliveryQuery(hook="alerts:77"))
    assert row.run_id == runs[77][0].id


@pytest.mark.parametrize(
    ("hook", "glob"),
    [
        *(('say "hi"', 'say "hi"'), ('say "hi"', "say ?hi?"), ("a\\b", "a?b"), ("a\tb", "a[\t ]b")),
        *(("x[1]", "x[[]1]"), ("x]y", "x[]]y"), ("ü@ß", "?@?"), ("100%", "10?%"), ("a_b", "*_*")),
    ],
)
def test_a_glob_may_match_any_characters(journal: Journal, hook: str, glob: str) -> None:
    """Those that JSON, a glob or a record writes in a way of its own among them."""
    run, records = a_completed_run((hook, 1))
    commit(journal, records, a_completed_run(("another", 1))[1])

    (row,) = journal.deliveries(DeliveryQuery(hook=glob))
    assert (row.run_id, row.hook) == (run.id, hook)


def test_what_was_delivered_stays_delivered(journal: Journal) -> None:
    """A late status does not change it, and an older one changes nothing."""
    run, failed = owing(journal), ARun()
    commit(journal, run.settle(D.DELIVERED, 2), failed.enter("PC", HOOK))
    commit(journal, failed.settle(D.FAILED, 2, updated=AT + 2))

    commit(journal, run.settle(D.FAILED, 2, updated=AT + 1))
    commit(journal, failed.settle(D.RUNNING, 2, updated=AT + 1))
    commit(journal, failed.settle(D.RUNNING, 1), failed.settle(D.FAILED, 2, updated=AT + 2))

    assert statuses(journal, run_id=failed.id) == [("failed", 2)]
    assert statuses(journal, run_id=run.id) == [("delivered", 2)]


def test_the_hooks_of_a_list_that_is_lost_are_owed_still(journal: Journal) -> None:
    """As many as are owed, of an unknown name."""
    run = ARun()
    commit(journal, run.enter("PC", HOOK, HOOK, listed="lost"))

    assert [row.hook for row in journal.deliveries(DeliveryQuery())] == ["unknown", "unknown"]


def test_a_dead_delivery_can_be_redriven(journal: Journal) -> None:
    """It is pending with all its attempts, and its run can be claimed though its owner is alive."""
    owner, heir = journal.register(an_owner()), journal.register(an_owner("heir"))
    run, records = a_completed_run(HOOK, OTHER)
    dead = run.settle(D.DEAD, 3)
    commit(journal, records, dead, fence=owner)

    assert journal.redrive([run.delivery_id(), run.delivery_id(1), uuid7()]) == 1
    commit(journal, dead, fence=owner)

    (revived,) = journal.deliveries(DeliveryQuery(statuses=[D.PENDING]))
    assert (revived.id, revived.attempts) == (run.delivery_id(), 0)
    # Without a keeper, until an owner claims it.
    assert ids(journal.runs(RunQuery(keeper=""))) == [run.id]
    assert ids(journal.claim(heir)) == [run.id]
    assert journal.runs(RunQuery(keeper="")) == []


# -- transactions of a hook's own ----------------------------------------------------------------


def owing(journal: Journal, fence: Fence | None = None) -> ARun:
    run, records = a_completed_run(HOOK, done=0)
    commit(journal, records, fence=fence)

    return run


def payments(connection: Any) -> int:
    return int(connection.execute("SELECT count(*) FROM payments").fetchone()[0])


def test_a_hooks_rows_are_committed_with_its_acknowledgement(journal: Journal) -> None:
    """Both are there after the block, or neither if the block raises."""
    paid, unpaid = owing(journal), owing(journal)
    with journal.transaction(paid.settled(D.DELIVERED)) as connection:
        connection.execute("CREATE TABLE payments (id INTEGER)")
        connection.execute("INSERT INTO payments VALUES (1)")

    with (
        pytest.raises(ZeroDivisionError),
        journal.transaction(unpaid.settled(D.DELIVERED)) as connection,
    ):
        connection.execute("INSERT INTO payments VALUES (2)")
        _ = 1 // 0

    assert ids(journal.deliveries(DeliveryQuery(statuses=[D.DELIVERED]))) == [paid.delivery_id()]
    with journal.transaction(unpaid.settled(D.DELIVERED)) as connection:
        assert payments(connection) == 1


@pytest.mark.parametrize("how", ["by a row", "by the acknowledgement", "not owed"])
def test_a_hook_does_its_work_once_even_if_it_runs_twice(journal: Journal, how: str) -> None:
    """The rows of the second acknowledgement are rolled back; so are those of an unknown one."""
    run = owing(journal)
    settled = run.settled(D.DELIVERED)
    if how == "by a row":
        with journal.transaction(settled):
            pass
    elif how == "by the acknowledgement":
        commit(journal, run.acknowledge(1, 1))
    else:
        settled = run.settled(D.DELIVERED, ordinal=1)

    with (
        pytest.raises(JournalError, match="delivered already"),
        journal.transaction(settled) as connection,
    ):
        connection.execute("CREATE TABLE payments (id INTEGER)")

    with journal.transaction(owing(journal).settled(D.DELIVERED)) as connection:
        connection.execute("CREATE TABLE payments (id INTEGER)")
        assert payments(connection) == 0


def test_a_stale_owner_has_no_transaction(journal: Journal) -> None:
    """Its rows are rolled back with its acknowledgement."""
    fence = journal.register(an_owner())
    run = owing(journal, fence)
    journal.end("owner", "vanished")

    with (
        pytest.raises(StaleOwnerError),
        journal.transaction(run.settled(D.DELIVERED), fence),
    ):
        pass

    assert statuses(journal) == [("running", 1)]


def test_a_hook_cannot_end_the_transaction_itself(journal: Journal) -> None:
    """Its own commit would separate its rows from the acknowledgement."""
    run = owing(journal)

    with (
        pytest.raises(Exception, match=r"not authorized|forbidden"),
        journal.transaction(run.settled(D.DELIVERED)) as connection,
    ):
        connection.execute("CREATE TABLE payments (id INTEGER)")
        connection.commit()

    assert statuses(journal) == [("running", 1)]


def test_within_a_transaction_nothing_else_is_committed(journal: Journal) -> None:
    """The thread would wait for itself: it gets an error at once, and can ask beforehand."""
    assert not journal.in_transaction()
    run, records = a_completed_run(HOOK)
    with journal.transaction(owing(journal).settled(D.DELIVERED)):
        assert journal.in_transaction()
        with pytest.raises(JournalError, match="hook's own"):
            commit(journal, records)
        with (
            pytest.raises(JournalError, match="already"),
            journal.transaction(run.settled(D.DELIVERED)),
        ):
            pass
    assert not journal.in_transaction()
    commit(journal, records)
