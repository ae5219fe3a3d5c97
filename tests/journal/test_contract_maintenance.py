"""Every journal can be pruned, verified and counted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from uuid_utils.compat import uuid7

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import (
    DeliveryQuery,
    Journal,
    RunQuery,
)
from eventflow.journal.format import JournalLine
from eventflow.journal.rows import RunRow
from eventflow.journal.stores.database import SqlJournal
from eventflow.states import StateType
from tests.journal.rows import (
    ENDED,
    NOW,
    a_delivery,
    a_run,
    an_event,
    an_owner,
    entering,
    ids,
    later,
    line_of,
)

D = DeliveryStatus


def test_pruning_spares_what_is_not_finished(journal: Journal) -> None:
    """Old runs go with events and deliveries; unfinished, owing and young ones stay."""
    long_ago = NOW - timedelta(days=9)
    gone = a_run(**ENDED | {"ended": long_ago})
    owing, young = a_run(**ENDED | {"ended": long_ago}), a_run(**ENDED)
    unfinished, last = a_run(created=long_ago), a_run()
    journal.commit_lines([entering(gone, a_delivery(gone, status=D.DEAD))])
    journal.commit_lines([entering(owing, a_delivery(owing, status=D.FAILED))])
    for run in (young, unfinished, last):
        journal.commit_lines([entering(run)])

    done = journal.prune(older_than=NOW - timedelta(days=1))

    assert (done.runs, done.events, done.deliveries) == (1, 1, 1)
    assert journal.run(gone.id) is None
    assert set(ids(journal.runs(RunQuery()))) == set(ids([owing, young, unfinished, last]))
    assert journal.prune(older_than=NOW - timedelta(days=1)).runs == 0


def test_pruning_makes_a_journal_fit(journal: Journal) -> None:
    """The oldest go first, until the size is right; runs that owe hooks stay, whatever the size."""
    runs = [a_run(parameters="x" * 500, **ENDED) for _ in range(1200)]
    owing, *others = runs
    journal.commit_lines([entering(owing, a_delivery(owing)), *map(entering, others)])
    full = journal.statistics().size

    journal.prune(max_bytes=full // 2)

    remaining = ids(journal.runs(RunQuery(limit=2000)))
    assert journal.statistics().size <= full // 2
    assert remaining == [*ids(runs[: -len(remaining) : -1]), runs[0].id]
    journal.prune(max_bytes=0)
    assert ids(journal.runs(RunQuery()))[-1] == runs[0].id


def test_pruning_is_due_from_time_to_time(journal: Journal) -> None:
    """For a while after a pruning no process prunes; then one does."""
    run, other = a_run(**ENDED), a_run(**ENDED)
    for made in (run, other):
        journal.commit_lines([entering(made)])
    when = NOW + timedelta(days=1)

    assert journal.prune_if_due(older_than=when, every=timedelta(hours=1)) is None
    assert journal.run(run.id) == run
    done = journal.prune_if_due(older_than=when, every=timedelta())
    assert done is not None
    assert done.runs >= 1
    assert journal.run(run.id) is None
    assert journal.prune_if_due(older_than=when, every=timedelta(hours=1)) is None


def test_only_one_process_prunes(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one finds it done, although it was due for it as well."""
    monkeypatch.setattr("eventflow.journal.stores.maintenance.is_due", lambda *_: True)

    assert journal.prune_if_due(every=timedelta(hours=1)) is None


def test_a_clock_that_was_set_back_does_not_stop_the_pruning(journal: Journal) -> None:
    """A time of the last pruning that is in the future is ignored."""
    assert isinstance(journal, SqlJournal)
    set_ahead = "UPDATE @meta SET value = 2 * value WHERE name = 'pruned'"
    journal.transact(lambda session: session.run(set_ahead))

    assert journal.prune_if_due(every=timedelta(hours=1)) is not None


def test_pruning_does_not_free_the_place_of_the_last_event(journal: Journal) -> None:
    """A cursor from before a pruning finds the events from after it."""
    for _ in range(3):
        journal.commit_lines([entering(a_run(**ENDED))])
    cursor = journal.cursor()
    journal.prune(older_than=NOW + timedelta(days=1))

    run = a_run()
    journal.commit_lines([entering(run)])

    assert [event.run_id for event in journal.events_after(cursor, 9)[0]] == [run.id]


def test_owners_without_runs_are_pruned(journal: Journal) -> None:
    """An owner stays as long as a run names it, for its definitions may be loaded again."""
    fence = journal.register(an_owner())
    journal.register(an_owner("idle"))
    journal.commit_lines([entering(a_run())], fence)
    for name in ("owner", "idle"):
        journal.end(name, "clean")

    done = journal.prune(older_than=datetime.now(UTC) + timedelta(days=1))

    assert done.owners == 1
    assert ids(journal.owners()) == ["owner"]


def test_a_clean_journal_verifies(journal: Journal) -> None:
    """Runs in every state give no finding."""
    fence = journal.register(an_owner())
    run = a_run()
    journal.commit_lines([entering(run, a_delivery(run))], fence)
    for _ in range(3):
        run = later(run, StateType.RUNNING)
        journal.commit_lines([entering(run)], fence)
    journal.commit_lines([entering(_not_ready(a_run()))], fence)
    for status in (D.RUNNING, D.FAILED, D.DELIVERED, D.DEAD):
        ended = a_run(**ENDED)
        delivery = a_delivery(ended, status=status, attempts=1, updated=NOW)
        journal.commit_lines([entering(ended, delivery)])
    journal.redrive(ids(journal.deliveries(DeliveryQuery(statuses=[D.DEAD]))))

    assert journal.verify() == []


def _gap(run: RunRow) -> JournalLine:
    ahead = later(later(run, StateType.RUNNING), StateType.RUNNING)

    return line_of(runs=[ahead], events=[an_event(ahead), an_event(run)])


def _behind(run: RunRow) -> JournalLine:
    return line_of(runs=[later(run, StateType.RUNNING)], events=[an_event(run)])


def _not_ready(run: RunRow) -> RunRow:
    return run._replace(state_name="NotReady", ended=NOW)


FAULTS: dict[str, Callable[[RunRow], JournalLine]] = {
    "gap": _gap,
    "behind": _behind,
    "orphan event": lambda run: line_of(events=[an_event(run)]),
    "orphan delivery": lambda run: entering(run, a_delivery(run, event_id=uuid7())),
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
    """Each fault is found, and only that, and reported with its run."""
    journal.register(an_owner())
    run = a_run(created=datetime.now(UTC) + timedelta(hours=1))
    journal.commit_lines([FAULTS[kind](run)])

    assert [(finding.kind, finding.run_id) for finding in journal.verify()] == [
        (kind.partition(",")[0], run.id)
    ]


def test_statistics_count_every_kind_of_row(journal: Journal) -> None:
    """Deliveries are counted by status."""
    fence = journal.register(an_owner())
    run, ended = a_run(), a_run(**ENDED)
    journal.commit_lines([entering(run, a_delivery(run), a_delivery(run, status=D.DEAD))], fence)
    journal.commit_lines([entering(ended)], fence)

    statistics = journal.statistics()

    assert (statistics.runs, statistics.unfinished, statistics.events) == (2, 1, 2)
    assert statistics.deliveries == {"dead": 1, "pending": 1}
    assert (statistics.owners, statistics.alive) == (1, 1)
    assert statistics.size > 0
