"""What every journal does, whichever database it is in."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from eventflow.errors import JournalError
from eventflow.hooks.ledger import OWED, DeliveryStatus
from eventflow.journal.contract import (
    START,
    Batch,
    DeliveryQuery,
    Fence,
    Journal,
    RunQuery,
    StaleOwnerError,
    UnstorableError,
)
from eventflow.journal.format import encode
from eventflow.journal.rows import DeliveryRow, EventRow, OwnerRow, RunRow
from eventflow.states import StateType
from tests.journal.rows import (
    NOW,
    a_delivery,
    a_run,
    an_event,
    an_owner,
    entering,
    ids,
    later,
    settled,
)

D = DeliveryStatus
ENDED: dict[str, Any] = {"ended": NOW, "state_type": StateType.COMPLETED, "state_name": "Completed"}

# -- writing and reading -------------------------------------------------------------------------


def test_a_transition_is_read_back_as_it_was_written(journal: Journal) -> None:
    """Run, event and delivery of one batch come back equal."""
    run = a_run(tags=("a\nb", ""), message="ünï", started=NOW, seconds=1.5, version="2")
    delivery = a_delivery(run, due=NOW, error="x", updated=NOW, importable=False)

    journal.commit(entering(run, delivery))

    assert journal.run(run.id) == run
    assert journal.events(run.id) == [an_event(run)]
    assert journal.deliveries(DeliveryQuery(run_id=run.id)) == [delivery]
    assert journal.run(uuid7()) is None


def test_a_run_stands_where_its_newest_row_says(journal: Journal) -> None:
    """A later row takes the place of an earlier one, and never the other way round."""
    first = a_run()
    second = later(first, StateType.RUNNING)

    journal.commit(entering(second))
    journal.commit(entering(first))

    assert journal.run(first.id) == second
    assert [one.sequence for one in journal.events(first.id)] == [0, 1]


def test_committing_a_batch_again_changes_nothing(journal: Journal) -> None:
    """A commit whose outcome is not known may be repeated."""
    run = a_run()
    delivery = a_delivery(run)
    batch = entering(run, delivery)
    journal.commit(batch)
    journal.commit(Batch(settlements=[settled(delivery, D.DELIVERED)]))

    journal.commit(batch)

    assert journal.statistics().events == 1
    assert journal.deliveries(DeliveryQuery(run_id=run.id))[0].status is D.DELIVERED


def test_a_batch_is_written_whole_or_not_at_all(journal: Journal) -> None:
    """One row that cannot be stored keeps its whole batch out, and says so."""
    run = a_run()
    batch = entering(run)
    batch.events.append(an_event(run, id=None))

    with pytest.raises(UnstorableError):
        journal.commit(batch)

    assert journal.run(run.id) is None
    assert journal.events(run.id) == []


def lines_of(run: RunRow, delivery: DeliveryRow) -> list[bytes]:
    """Give what a run of one hook leaves: three transitions, and the hook's attempt."""
    begun = later(run, StateType.RUNNING)
    done = later(begun, StateType.COMPLETED, ends=True)
    owed = delivery._replace(event_id=done.state_id)
    batches = [entering(run), entering(begun), entering(done, owed)]
    batches += [Batch(settlements=[settled(owed, one)]) for one in (D.RUNNING, D.DELIVERED)]

    return [encode(batch) for batch in batches]


@pytest.mark.parametrize("size", [1, 2, 3, 99])
def test_lines_are_written_in_groups_of_any_size(journal: Journal, size: int) -> None:
    """However a spool is cut, what is read back is the same, also when it is written again."""
    run = a_run()
    delivery = a_delivery(run)
    lines = lines_of(run, delivery)
    for _ in range(2):
        for start in range(0, len(lines), size):
            journal.commit_lines(lines[start : start + size])

    found = journal.run(run.id)
    assert found is not None
    assert (found.state_type, found.sequence) == (StateType.COMPLETED, 2)
    assert [one.sequence for one in journal.events(run.id)] == [0, 1, 2]
    (left,) = journal.deliveries(DeliveryQuery(run_id=run.id))
    assert (left.status, left.attempts, left.updated) == (D.DELIVERED, 1, NOW)


def test_lines_written_again_in_another_grouping_lose_nothing(journal: Journal) -> None:
    """A delivery that is there already takes what has become of it since."""
    run = a_run()
    lines = lines_of(run, a_delivery(run))
    journal.commit_lines(lines[:3])

    journal.commit_lines(lines)
    journal.commit_lines(lines[:3])

    assert [one.status for one in journal.deliveries(DeliveryQuery())] == [D.DELIVERED]
    other = a_run()
    lines = lines_of(other, a_delivery(other))
    journal.commit_lines(lines[:4])
    journal.commit_lines(lines[:3])
    (left,) = journal.deliveries(DeliveryQuery(run_id=other.id))
    assert (left.status, left.attempts) == (D.RUNNING, 1)


def test_many_lines_are_written_at_once(journal: Journal) -> None:
    """More rows than one statement takes, and settlements of deliveries from before."""
    made = [a_run(**ENDED) for _ in range(1337)]
    owed = [a_delivery(run) for run in made]
    journal.commit_lines([encode(entering(*pair)) for pair in zip(made, owed, strict=True)])

    steps = [settled(one, D.FAILED, 2, due=NOW, error="no") for one in owed]
    journal.commit_lines([encode(Batch(settlements=[one])) for one in steps])
    journal.commit_lines([encode(Batch(settlements=[settled(owed[0], D.DELIVERED, 3)]))])

    assert journal.statistics().runs == len(made)
    assert journal.statistics().events == len(made)
    found = journal.deliveries(DeliveryQuery(limit=9999))
    failed = [
        one._replace(status=D.FAILED, attempts=2, due=NOW, error="no", updated=NOW) for one in owed
    ]
    assert found[0] == owed[0]._replace(status=D.DELIVERED, attempts=3, updated=NOW)
    assert found[1:] == failed[1:]


def test_a_bad_line_is_left_out_and_said(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """The rest of its group is written; the log says how many were bad, and shows one."""
    run = a_run()

    with caplog.at_level(logging.ERROR):
        journal.commit_lines([b'{"torn":', encode(entering(run)), b"also bad"])

    assert journal.run(run.id) == run
    assert "2 of 3 lines" in caplog.text
    assert '{"torn":' in caplog.text


def test_lines_are_written_whole_or_not_at_all(journal: Journal) -> None:
    """A row that cannot be stored keeps its group out; so does a fence that is not in force."""
    run = a_run()
    bad = json.dumps({"events": [[None] * len(EventRow._fields)]}).encode()
    fence = journal.register(an_owner())
    journal.end("owner", "vanished")

    with pytest.raises(UnstorableError):
        journal.commit_lines([encode(entering(run)), bad])
    with pytest.raises(StaleOwnerError):
        journal.commit_lines([encode(entering(run))], fence)

    assert journal.run(run.id) is None


def test_an_empty_batch_is_nothing(journal: Journal) -> None:
    """Nothing is written and nothing is wrong."""
    batch = Batch()

    journal.commit(batch)

    assert len(batch) == 0
    assert journal.statistics().events == 0


@pytest.mark.parametrize("text", ["lone \ud800 surrogate", "a \0 byte"])
def test_text_that_no_database_holds_is_stored_nearly(journal: Journal, text: str) -> None:
    """A strange character never keeps a transition out of the journal."""
    run = a_run(message=text)

    journal.commit(entering(run))

    found = journal.run(run.id)
    assert found is not None
    assert found.message is not None
    assert found.message[:2] == text[:2]
    assert found._replace(message=None) == run._replace(message=None)


def test_runs_are_found_by_what_they_are(journal: Journal) -> None:
    """Every field of a query narrows the answer; the newest come first."""
    flow = a_run(run_type="flow", definition="etl", created=NOW - timedelta(days=1))
    flow = flow._replace(flow_run_id=flow.id)
    task = a_run(parent_run_id=flow.id, flow_run_id=flow.id, owner="other")
    nested = a_run(parent_run_id=task.id, flow_run_id=flow.id, definition="load[1]", **ENDED)
    for run in (flow, task, nested):
        journal.commit(entering(run))

    def found(**query: Any) -> list[UUID]:
        return ids(journal.runs(RunQuery(**query)))

    assert found() == [nested.id, task.id, flow.id]
    assert found(limit=1) == [nested.id]
    assert found(run_type="flow") == [flow.id]
    assert found(state_types=[StateType.COMPLETED, StateType.FAILED]) == [nested.id]
    assert found(definition="e*t*") == [task.id, flow.id]
    assert found(definition="l?ad[[]1]") == [nested.id]
    assert found(definition="[!e]*") == [nested.id]
    assert found(unfinished=True) == [task.id, flow.id]
    assert found(parent_run_id=flow.id) == [task.id]
    assert found(flow_run_id=flow.id) == [nested.id, task.id, flow.id]
    assert found(keeper="other") == [task.id]
    assert found(since=NOW) == [nested.id, task.id]


def test_events_are_followed_with_a_cursor(journal: Journal) -> None:
    """Pages come in the order of commits, each event once, and the end gives nothing."""
    runs = [a_run() for _ in range(5)]
    for run in runs:
        journal.commit(entering(run))

    first, cursor = journal.events_after(START, 3)
    second, cursor = journal.events_after(cursor, 3)

    assert [one.run_id for one in first + second] == ids(runs)
    assert journal.events_after(cursor, 3) == ([], cursor)
    assert journal.events_after(journal.cursor(), 3)[0] == []


def test_a_cursor_can_be_had_for_a_moment(journal: Journal) -> None:
    """Every event since the moment is still to come after it."""
    old, new = a_run(state_at=NOW - timedelta(days=2)), a_run()
    for run in (old, new):
        journal.commit(entering(run))

    found, _ = journal.events_after(journal.cursor(NOW - timedelta(days=1)), 10)

    assert [one.run_id for one in found] == [new.id]
    assert journal.events_after(journal.cursor(NOW + timedelta(days=1)), 10)[0] == []


def test_an_event_wakes_who_waits_for_it(journal: Journal) -> None:
    """`wait` comes back with the next commit, and with False when none comes."""
    cursor = journal.cursor()
    woken: list[bool] = []
    waiter = threading.Thread(target=lambda: woken.append(journal.wait(cursor, 60)))
    waiter.start()

    journal.commit(entering(a_run()))
    waiter.join(60)

    assert woken == [True]
    assert not journal.wait(journal.cursor(), 0.01)


def test_deliveries_come_in_the_order_in_which_they_are_owed(journal: Journal) -> None:
    """Of one run by event, then as they were declared; they can be asked for by status."""
    begun = a_run()
    done = later(begun, StateType.COMPLETED, ends=True)
    first = a_delivery(begun)
    third, second = a_delivery(done, ordinal=1), a_delivery(done, ordinal=0)
    journal.commit(entering(done, third, second))
    journal.commit(entering(begun, first))

    assert ids(journal.deliveries(DeliveryQuery())) == ids([first, second, third])
    assert journal.deliveries(DeliveryQuery(id=second.id)) == [second]
    assert journal.deliveries(DeliveryQuery(keeper="nobody")) == []
    assert len(journal.deliveries(DeliveryQuery(keeper="owner", limit=2))) == 2
    journal.commit(Batch(settlements=[settled(first, D.DEAD, 3, error="no", due=NOW)]))
    assert ids(journal.deliveries(DeliveryQuery(statuses=OWED))) == ids([second, third])
    dead = journal.deliveries(DeliveryQuery(statuses=[D.DEAD]))
    assert dead == [first._replace(status=D.DEAD, attempts=3, error="no", due=NOW, updated=NOW)]


def test_what_was_delivered_stays_delivered(journal: Journal) -> None:
    """A settlement that comes late takes nothing back."""
    run = a_run()
    delivery = a_delivery(run)
    journal.commit(entering(run, delivery))
    journal.commit(Batch(settlements=[settled(delivery, D.DELIVERED)]))

    journal.commit(Batch(settlements=[settled(delivery, D.FAILED, 2)]))

    assert journal.deliveries(DeliveryQuery())[0].status is D.DELIVERED


# -- owners --------------------------------------------------------------------------------------


def test_an_owner_is_entered_and_ends(journal: Journal) -> None:
    """What it registered with is read back; its end bears a time and a reason."""
    owner = an_owner(argv=("a", "ünï", "\udcff"), main_file=None, main_module="etl.__main__")

    fence = journal.register(owner)

    assert journal.owners() == [owner._replace(token=fence.token)]
    assert journal.end("owner", "clean")
    assert not journal.end("owner", "again")
    (found,) = journal.owners()
    assert found.reason == "clean"
    assert found.ended is not None
    assert journal.owners(alive=True) == []


def test_a_stale_owner_can_write_nothing(journal: Journal) -> None:
    """Once it was given up for dead, neither transitions nor acknowledgements are taken."""
    run = a_run()
    delivery = a_delivery(run)
    fence = journal.register(an_owner())
    journal.commit(entering(run, delivery, fence=fence))
    journal.end("owner", "vanished")

    with pytest.raises(StaleOwnerError, match="took it for dead"):
        journal.commit(entering(later(run, StateType.RUNNING), fence=fence))
    with pytest.raises(StaleOwnerError):
        journal.commit(Batch(fence, settlements=[settled(delivery, D.DELIVERED)]))

    assert journal.run(run.id) == run
    assert journal.deliveries(DeliveryQuery()) == [delivery]


def test_registering_again_makes_older_tokens_stale(journal: Journal) -> None:
    """Tokens only rise; an owner that comes back does not speak for its former self."""
    old = journal.register(an_owner())
    other = journal.register(an_owner("other"))
    new = journal.register(an_owner())

    assert old.token < other.token < new.token
    with pytest.raises(StaleOwnerError):
        journal.commit(entering(a_run(), fence=old))
    journal.commit(entering(a_run(), fence=new))


def test_a_lease_that_is_not_renewed_lapses(journal: Journal) -> None:
    """Only then is an owner shown as lapsed, and only then may it be ended for that."""
    fence = journal.register(an_owner(), lease_seconds=3600)
    journal.register(an_owner("without"))
    assert journal.owners(lapsed=True) == []
    assert not journal.end("owner", "lapsed", only_lapsed=True)

    assert journal.renew(fence, -1)

    assert ids(journal.owners(lapsed=True)) == ["owner"]
    assert journal.end("owner", "lapsed", only_lapsed=True)
    assert not journal.renew(fence, 3600)


def test_the_work_of_the_dead_goes_to_one_claimer(journal: Journal) -> None:
    """Runs without end and runs with hooks owed change their keeper; nothing else does."""
    dead, heir = journal.register(an_owner("dead")), journal.register(an_owner("heir"))
    rival = journal.register(an_owner("rival"))
    unfinished = a_run(owner="dead")
    owing, settled_up = a_run(owner="dead", **ENDED), a_run(owner="dead", **ENDED)
    alive = a_run(owner="rival")
    for run in (unfinished, settled_up):
        journal.commit(entering(run, fence=dead))
    journal.commit(entering(owing, a_delivery(owing), fence=dead))
    journal.commit(entering(alive, fence=rival))
    assert journal.claim(heir) == []
    journal.end("dead", "vanished")

    claimed = journal.claim(heir)

    assert claimed == [unfinished, owing]
    assert journal.claim(rival) == []
    assert ids(journal.runs(RunQuery(keeper="heir"))) == [owing.id, unfinished.id]
    journal.commit(entering(later(unfinished, StateType.CRASHED, ends=True), fence=heir))
    assert ids(journal.runs(RunQuery(keeper="heir", unfinished=True))) == []


def test_what_a_claimer_leaves_is_claimed_from_it(journal: Journal) -> None:
    """The heir can die as well: what it had claimed goes on to the next; the dead claim none."""
    run = a_run(owner="never registered")
    journal.commit(entering(run))
    first, second = journal.register(an_owner("first")), journal.register(an_owner("second"))
    assert ids(journal.claim(first)) == [run.id]

    journal.end("first", "vanished")

    assert ids(journal.claim(second)) == [run.id]
    with pytest.raises(StaleOwnerError):
        journal.claim(first)


def test_the_runs_of_one_owner_can_be_claimed_alone(journal: Journal) -> None:
    """Those that it executed and that nobody alive keeps, whoever kept them last."""
    ours, kept, theirs = a_run(owner="gone"), a_run(owner="gone"), a_run(owner="other")
    journal.commit(entering(ours))
    journal.commit(entering(kept))
    fence, rival = journal.register(an_owner("heir")), journal.register(an_owner("rival"))
    assert ids(journal.claim(rival, 1)) == [ours.id]
    journal.commit(entering(theirs))

    assert ids(journal.claim(fence, owner="gone")) == [kept.id]
    journal.end("rival", "vanished")
    assert ids(journal.claim(fence, owner="gone")) == [ours.id]
    assert journal.claim(fence, owner="gone") == []
    assert ids(journal.claim(fence)) == [theirs.id]


def test_claimers_share_what_there_is(journal: Journal) -> None:
    """Eight claim at once: each run goes to exactly one of them."""
    runs = [a_run(owner="gone") for _ in range(60)]
    batch = Batch()
    for run in runs:
        batch.runs[run.id] = run
        batch.events.append(an_event(run))
    journal.commit(batch)
    fences = [journal.register(an_owner(f"heir-{number}")) for number in range(8)]
    start = threading.Barrier(len(fences))
    claimed: list[UUID] = []

    def claim(fence: Fence) -> None:
        start.wait()
        while mine := journal.claim(fence, 7):
            claimed.extend(ids(mine))

    threads = [threading.Thread(target=claim, args=(fence,)) for fence in fences]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(claimed) == ids(runs)


def test_a_dead_letter_can_be_driven_again(journal: Journal) -> None:
    """It is pending with all its attempts, and its run may be claimed though its owner lives."""
    owner, heir = journal.register(an_owner()), journal.register(an_owner("heir"))
    run = a_run(**ENDED)
    dead, fine = a_delivery(run), a_delivery(run, ordinal=1)
    journal.commit(entering(run, dead, fine, fence=owner))
    journal.commit(Batch(owner, settlements=[settled(dead, D.DEAD, 3), settled(fine, D.DELIVERED)]))

    assert journal.redrive([dead.id, fine.id, uuid7()]) == 1

    (revived,) = journal.deliveries(DeliveryQuery(statuses=[D.PENDING]))
    assert (revived.id, revived.attempts) == (dead.id, 0)
    # Free, until somebody answers for it.
    assert ids(journal.runs(RunQuery(keeper=""))) == [run.id]
    assert ids(journal.claim(heir)) == [run.id]
    assert journal.runs(RunQuery(keeper="")) == []


# -- requests ------------------------------------------------------------------------------------


def test_a_run_can_be_asked_to_end(journal: Journal) -> None:
    """Its executor is told until the run has ended, whoever keeps it; no other owner is."""
    run, other = a_run(owner="here"), a_run(owner="there")
    for one in (run, other):
        journal.commit(entering(one))

    assert journal.ask_cancel(run.id)
    assert journal.ask_cancel(run.id)

    assert journal.cancels("here") == [run.id]
    assert journal.cancels("there") == []
    journal.commit(entering(later(run, StateType.CANCELLED, ends=True)))
    assert journal.cancels("here") == []


def test_only_what_has_no_end_can_be_asked_to_end(journal: Journal) -> None:
    """A run that has ended, and one that nobody knows, are said not to be there."""
    ended = a_run(**ENDED)
    journal.commit(entering(ended))

    assert not journal.ask_cancel(ended.id)
    assert not journal.ask_cancel(uuid7())
    assert journal.cancels("owner") == []


# -- a hook's own transaction --------------------------------------------------------------------


def owed(journal: Journal, fence: Fence | None = None) -> DeliveryRow:
    run = a_run()
    delivery = a_delivery(run)
    journal.commit(entering(run, delivery, fence=fence))

    return delivery


def payments(connection: Any) -> int:
    return int(connection.execute("SELECT count(*) FROM payments").fetchone()[0])


def test_a_hooks_rows_and_its_acknowledgement_are_one(journal: Journal) -> None:
    """Both are there after the block, or neither when the block raises."""
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
    """Who acknowledges second has its rows taken back."""
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
    """Its rows are taken back with its acknowledgement."""
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
    """A commit of its own would part its rows from the acknowledgement."""
    delivery = owed(journal)

    with (
        pytest.raises(Exception, match=r"not authorized|forbidden"),
        journal.transaction(settled(delivery, D.DELIVERED)) as connection,
    ):
        connection.execute("CREATE TABLE payments (id INTEGER)")
        connection.commit()

    assert journal.deliveries(DeliveryQuery()) == [delivery]


def test_within_a_transaction_nothing_else_is_committed(journal: Journal) -> None:
    """The thread would wait for itself: it is told so at once, and can ask beforehand."""
    assert not journal.engaged()
    with journal.transaction(settled(owed(journal), D.DELIVERED)):
        assert journal.engaged()
        with pytest.raises(JournalError, match="hook's own"):
            journal.commit(entering(a_run()))
        with pytest.raises(JournalError, match="already"), journal.transaction(settled_other()):
            pass
    assert not journal.engaged()
    journal.commit(entering(a_run()))


def settled_other() -> Any:
    return settled(a_delivery(a_run()), D.DELIVERED)


# -- tending -------------------------------------------------------------------------------------


def test_pruning_spares_what_is_not_done_with(journal: Journal) -> None:
    """Old runs go with events and deliveries; unfinished, owing and young ones stay."""
    long_ago = NOW - timedelta(days=9)
    gone = a_run(**ENDED | {"ended": long_ago})
    owing, young = a_run(**ENDED | {"ended": long_ago}), a_run(**ENDED)
    unfinished, last = a_run(created=long_ago), a_run()
    journal.commit(entering(gone, a_delivery(gone, status=D.DEAD)))
    journal.commit(entering(owing, a_delivery(owing, status=D.FAILED)))
    for run in (young, unfinished, last):
        journal.commit(entering(run))

    done = journal.prune(older_than=NOW - timedelta(days=1))

    assert (done.runs, done.events, done.deliveries) == (1, 1, 1)
    assert journal.run(gone.id) is None
    assert set(ids(journal.runs(RunQuery()))) == set(ids([owing, young, unfinished, last]))
    assert journal.prune(older_than=NOW - timedelta(days=1)).runs == 0


def test_pruning_makes_a_journal_fit(journal: Journal) -> None:
    """The oldest go first, until the size is right; what is owed stays, whatever the size."""
    batch = Batch()
    runs = [a_run(parameters="x" * 500, **ENDED) for _ in range(1200)]
    for run in runs:
        batch.runs[run.id] = run
        batch.events.append(an_event(run))
    batch.deliveries.append(a_delivery(runs[0]))
    journal.commit(batch)
    full = journal.statistics().size

    journal.prune(max_bytes=full // 2)

    left = ids(journal.runs(RunQuery(limit=2000)))
    assert journal.statistics().size <= full // 2
    assert left == [*ids(runs[: -len(left) : -1]), runs[0].id]
    journal.prune(max_bytes=0)
    assert ids(journal.runs(RunQuery()))[-1] == runs[0].id


def test_pruning_is_due_from_time_to_time(journal: Journal) -> None:
    """Within a while of the last time nothing is done, whoever asks; then one process prunes."""
    run, other = a_run(**ENDED), a_run(**ENDED)
    for one in (run, other):
        journal.commit(entering(one))
    when = NOW + timedelta(days=1)

    assert journal.prune_if_due(older_than=when, every=timedelta(hours=1)) is None
    assert journal.run(run.id) == run
    done = journal.prune_if_due(older_than=when, every=timedelta())
    assert done is not None
    assert done.runs >= 1
    assert journal.run(run.id) is None
    assert journal.prune_if_due(older_than=when, every=timedelta(hours=1)) is None


def test_one_of_those_who_find_pruning_due_does_it(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes second finds the turn taken, though it had seen that it was due."""
    monkeypatch.setattr("eventflow.journal.stores.maintenance.is_due", lambda *_: True)

    assert journal.prune_if_due(every=timedelta(hours=1)) is None


def test_a_clock_that_was_set_back_does_not_stop_the_pruning(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stamp that lies ahead counts as none."""
    journal.statistics()
    journal.prune_if_due(every=timedelta())
    for name in ("sqlite_session.SqliteSession", "postgres._Session"):
        monkeypatch.setattr(f"eventflow.journal.stores.{name}.now", lambda _: 1_000_000)

    assert journal.prune_if_due(every=timedelta(hours=1)) is not None


def test_pruning_never_gives_a_place_twice(journal: Journal) -> None:
    """A cursor from before a prune finds the events from after it."""
    for _ in range(3):
        journal.commit(entering(a_run(**ENDED)))
    cursor = journal.cursor()
    journal.prune(older_than=NOW + timedelta(days=1))

    run = a_run()
    journal.commit(entering(run))

    assert [one.run_id for one in journal.events_after(cursor, 9)[0]] == [run.id]


def test_owners_are_pruned_when_nothing_is_theirs(journal: Journal) -> None:
    """An owner stays as long as a run names it, for its definitions may be loaded again."""
    fence = journal.register(an_owner())
    journal.register(an_owner("idle"))
    journal.commit(entering(a_run(), fence=fence))
    for one in ("owner", "idle"):
        journal.end(one, "clean")

    done = journal.prune(older_than=datetime.now(UTC) + timedelta(days=1))

    assert done.owners == 1
    assert ids(journal.owners()) == ["owner"]


def test_a_sound_journal_verifies(journal: Journal) -> None:
    """Runs in every stage of life give no finding."""
    fence = journal.register(an_owner())
    run = a_run()
    journal.commit(entering(run, a_delivery(run), fence=fence))
    for _ in range(3):
        run = later(run, StateType.RUNNING)
        journal.commit(entering(run, fence=fence))
    journal.commit(entering(_not_ready(a_run()), fence=fence))
    for status in (D.RUNNING, D.FAILED, D.DELIVERED, D.DEAD):
        ended = a_run(**ENDED)
        journal.commit(entering(ended, a_delivery(ended, status=status, attempts=1, updated=NOW)))
    journal.redrive(ids(journal.deliveries(DeliveryQuery(statuses=[D.DEAD]))))

    assert journal.verify() == []


def _gap(run: RunRow) -> Batch:
    ahead = later(later(run, StateType.RUNNING), StateType.RUNNING)
    batch = entering(ahead)
    batch.events.append(an_event(run))

    return batch


def _behind(run: RunRow) -> Batch:
    return Batch(runs={run.id: later(run, StateType.RUNNING)}, events=[an_event(run)])


def _not_ready(run: RunRow) -> RunRow:
    return run._replace(state_name="NotReady", ended=NOW)


FAULTS: dict[str, Callable[[RunRow], Batch]] = {
    "gap": _gap,
    "behind": _behind,
    "orphan event": lambda run: Batch(events=[an_event(run)]),
    "orphan delivery": lambda run: replace(
        entering(run), deliveries=[a_delivery(run, event_id=uuid7())]
    ),
    "abandoned": lambda run: entering(run._replace(owner="gone")),
    "unattended": lambda run: entering(run._replace(owner="gone", **ENDED), a_delivery(run)),
    "odd run": lambda run: entering(run._replace(ended=NOW)),
    "odd run, without an end": lambda run: entering(run._replace(**ENDED | {"ended": None})),
    "odd delivery": lambda run: entering(run, a_delivery(run, status=D.RUNNING)),
    "odd delivery, never settled": lambda run: entering(
        run, a_delivery(run, status=D.DELIVERED, attempts=1)
    ),
    "odd delivery, of no status": lambda run: entering(run, a_delivery(run, status="lost")),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_verify_finds(journal: Journal, kind: str) -> None:
    """Each thing that must not be is found, and only that, and named with its run."""
    journal.register(an_owner())
    run = a_run(created=datetime.now(UTC) + timedelta(hours=1))
    journal.commit(FAULTS[kind](run))

    assert [(one.kind, one.run_id) for one in journal.verify()] == [
        (kind.partition(",")[0], run.id)
    ]


def test_statistics_count_what_there_is(journal: Journal) -> None:
    """Every kind of row is counted, deliveries by status."""
    fence = journal.register(an_owner())
    run, ended = a_run(), a_run(**ENDED)
    journal.commit(entering(run, a_delivery(run), a_delivery(run, status=D.DEAD), fence=fence))
    journal.commit(entering(ended, fence=fence))

    found = journal.statistics()

    assert (found.runs, found.unfinished, found.events) == (2, 1, 2)
    assert found.deliveries == {"dead": 1, "pending": 1}
    assert (found.owners, found.alive) == (1, 1)
    assert found.size > 0


def test_a_closed_journal_opens_again(journal: Journal) -> None:
    """Closing lets go of files and connections, and loses nothing."""
    run = a_run()
    journal.commit(entering(run))

    journal.close()
    journal.close()

    assert journal.run(run.id) == run


# -- every value there is ------------------------------------------------------------------------

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
moments = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)).map(  # noqa: DTZ001 - made aware below
    lambda one: one.replace(tzinfo=UTC)
)
uuids = st.uuids()
kinds = st.sampled_from(StateType)
numbers = st.integers(0, 2**62)
maybe_uuid, maybe_moment, maybe_text = st.none() | uuids, st.none() | moments, st.none() | text
runs = st.builds(
    RunRow,
    *(uuids, st.sampled_from(["flow", "task"]), text, text, text, maybe_text),
    *(st.lists(text, max_size=3).map(tuple), maybe_text, maybe_uuid, maybe_uuid, maybe_uuid, text),
    *(moments, maybe_moment, maybe_moment, st.floats(0, 1e9), numbers, numbers, uuids, kinds),
    *(text, moments, maybe_text),
)
events = st.builds(
    EventRow,
    *(uuids, uuids, numbers, kinds, text, moments, numbers, maybe_text, maybe_text, maybe_uuid),
)
deliveries = st.builds(
    DeliveryRow,
    *(uuids, uuids, uuids, numbers, text, st.booleans(), st.sampled_from(D), numbers),
    *(maybe_moment, maybe_text, maybe_moment),
)
owners = st.builds(
    OwnerRow,
    *(text, text, text, numbers, moments, maybe_text, maybe_text),
    *(st.lists(text, max_size=3).map(tuple), text, st.lists(text, max_size=3).map(tuple)),
)


@settings(
    max_examples=30,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(run=runs, event=events, delivery=deliveries, owner=owners)
def test_every_row_comes_back_as_it_was(
    journal: Journal, run: RunRow, event: EventRow, delivery: DeliveryRow, owner: OwnerRow
) -> None:
    """Whatever values a row has, it is read back equal."""
    # What has no namesake from an earlier example.
    run, event = run._replace(id=uuid7()), event._replace(run_id=uuid7())
    delivery = delivery._replace(id=uuid7())
    journal.commit(Batch(None, {run.id: run}, [event], [delivery], []))
    fence = journal.register(owner)

    assert journal.run(run.id) == run
    assert event in journal.events(event.run_id)
    assert delivery in journal.deliveries(DeliveryQuery(id=delivery.id))
    plain = owner._replace(token=fence.token, lease_until=None, ended=None, reason=None)
    assert plain in journal.owners()
