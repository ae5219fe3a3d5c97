"""Every journal takes a long life in parts, each at the same price, and reads it as one."""

from __future__ import annotations

from datetime import timedelta

import pytest

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import START, DeliveryQuery, Journal, RunQuery
from eventflow.journal.stores import feed
from eventflow.journal.stores.database import SqlJournal
from tests.journal.rows import HOOK, NOW, ARun, commit, ids

RETRIES = 40


def lives(journal: Journal, run: ARun) -> None:
    """Have a run retried many times, with a record for each state; each Running owes a hook."""
    commit(journal, run.enter("P"))
    for _ in range(RETRIES):
        commit(journal, run.enter("R", HOOK, done=1))
        commit(journal, run.enter("S"))
    commit(journal, run.enter("RC", HOOK, done=1))


def longest_rows(journal: Journal) -> list[int | None]:
    """Return the longest events in a row of a run, and in that of a part."""
    assert isinstance(journal, SqlJournal)
    texts = [f"SELECT max(length(events)) FROM {table}" for table in ("@runs", "@parts")]

    return [row[0] for row in journal.read(lambda session: [session.all(t)[0] for t in texts])]


def test_no_row_is_written_again_and_again_as_it_grows(journal: Journal) -> None:
    """What one more record writes does not depend on how many there were."""
    run = ARun()
    lives(journal, run)

    assert all(length is not None and length < 1_000 for length in longest_rows(journal))
    assert len(journal.events(run.id)) == run.sequence + 1


def test_a_long_life_is_read_as_one(journal: Journal) -> None:
    """Its run, its events and its deliveries, alone and among others."""
    run, other = ARun(), ARun()
    commit(journal, other.enter("P"))
    lives(journal, run)

    row = journal.run(run.id)
    assert row is not None
    assert (row.run_count, row.sequence, row.state_name) == (
        *(RETRIES + 1, run.sequence, "Completed"),
    )
    assert row in journal.runs(RunQuery())
    assert [event.sequence for event in journal.events(run.id)] == [*range(run.sequence + 1)]
    assert [len(events) for _, events in journal.histories(NOW, None, 9)] == [
        len(journal.events(each.id)) for each in sorted((run, other), key=lambda run: run.id)
    ]
    assert len(journal.deliveries(DeliveryQuery(run_id=run.id))) == RETRIES + 1
    assert len(journal.deliveries(DeliveryQuery(hook="alerts:*"))) == RETRIES + 1
    assert len(journal.deliveries(DeliveryQuery(id=run.delivery_id(0, 1)))) == 1


def test_a_long_life_is_counted_and_verified(journal: Journal) -> None:
    """Statistics and findings know all of its parts."""
    run = ARun()
    lives(journal, run)

    counted = journal.statistics()
    assert (counted.runs, counted.events) == (1, run.sequence + 1)
    assert counted.deliveries == {"delivered": RETRIES + 1}
    assert journal.verify() == []


def test_a_long_life_is_pruned_as_a_whole(journal: Journal) -> None:
    """Nothing is left of it, not even if it comes again."""
    run = ARun(created=NOW - timedelta(days=9))
    lives(journal, run)

    done = journal.prune(older_than=NOW)

    assert (done.runs, done.events, done.deliveries) == (1, run.sequence + 1, RETRIES + 1)
    assert longest_rows(journal) == [None, None]


def test_the_hooks_of_an_earlier_part_may_still_be_dead(journal: Journal) -> None:
    """A row of its own replaces what the part says, wherever that is."""
    run = ARun()
    lives(journal, run)
    commit(journal, run.settle(DeliveryStatus.DEAD, 3, sequence=1))

    (dead,) = journal.deliveries(DeliveryQuery(statuses=[DeliveryStatus.DEAD]))
    assert (dead.id, dead.event_id) == (run.delivery_id(0, 1), run.event_id(1))


@pytest.mark.parametrize("ends", [1, 1_000])
def test_the_feed_counts_on_from_part_to_part(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, ends: int
) -> None:
    """Whether it remembers the part before or not, and wherever a reader begins."""
    monkeypatch.setattr(feed, "ENDS", ends)
    run, other = ARun(), ARun()
    lives(journal, run)
    commit(journal, other.enter("PR"), other.enter("C"))

    rows, _ = journal.events_after(START, 999)
    of_run = [row for row in rows if row.id not in ids(journal.events(other.id))]

    assert of_run == journal.events(run.id)
    assert journal.events_after(journal.cursor(), 9)[0] == []


def test_who_follows_a_run_does_not_read_it_as_a_whole(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The feed knows the part before."""
    run = ARun()
    commit(journal, run.enter("P"))
    _, cursor = journal.events_after(START, 9)

    def whole(*_: object) -> None:
        pytest.fail("a run was read as a whole")

    monkeypatch.setattr("eventflow.journal.stores.feed.stored_run", whole)
    for state in "RSRSRC":
        commit(journal, run.enter(state))
        rows, cursor = journal.events_after(cursor, 9)
        assert [row.id for row in rows] == [run.event_id()]
