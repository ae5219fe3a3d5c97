"""Every journal can be pruned, verified and counted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import START, DeliveryQuery, Journal, RunQuery
from eventflow.journal.stores import feed
from eventflow.journal.stores.database import SqlJournal
from tests.journal.rows import (
    HOOK,
    NOW,
    ARun,
    a_completed_run,
    an_owner,
    commit,
    ids,
)

D = DeliveryStatus
LONG_AGO = NOW - timedelta(days=9)


def test_pruning_spares_what_is_not_finished(journal: Journal) -> None:
    """Old runs go with events and deliveries; unfinished, owing and young ones stay."""
    (gone, gone_records) = a_completed_run(HOOK, created=LONG_AGO)
    (failed, failed_records) = a_completed_run(HOOK, created=LONG_AGO)
    owing, owing_records = a_completed_run(HOOK, HOOK, created=LONG_AGO, done=1)
    young, young_records = a_completed_run()
    unfinished = ARun(created=LONG_AGO)
    commit(journal, gone_records, gone.settle(D.DEAD))
    commit(journal, failed_records, failed.settle(D.FAILED))
    commit(journal, owing_records, young_records, unfinished.enter("P"))

    done = journal.prune(older_than=NOW - timedelta(days=1))

    assert (done.runs, done.events, done.deliveries) == (1, 3, 1)
    assert journal.run(gone.id) is None
    assert set(ids(journal.runs(RunQuery()))) == set(ids([owing, failed, young, unfinished]))
    assert len(journal.deliveries(DeliveryQuery())) == 3
    assert journal.prune(older_than=NOW - timedelta(days=1)).runs == 0


def test_pruning_makes_a_journal_fit(journal: Journal) -> None:
    """The oldest go first, until the size is right; runs that owe hooks stay, whatever the size."""
    runs = [a_completed_run(facts=f'[["{"x" * 500}"]]') for _ in range(1200)]
    owing, records = a_completed_run(HOOK, id=runs[0][0].number - 1, done=0)
    commit(journal, records, *(records for _, records in runs))
    full = journal.statistics().size

    journal.prune(max_bytes=full // 2)

    remaining = ids(journal.runs(RunQuery(limit=2000)))
    assert journal.statistics().size <= full // 2
    newest = [run.id for run, _ in reversed(runs)]
    assert remaining == [*newest[: len(remaining) - 1], owing.id]
    journal.prune(max_bytes=0)
    assert ids(journal.runs(RunQuery())) == [owing.id]


def test_pruning_is_due_from_time_to_time(journal: Journal) -> None:
    """For a while after a pruning no process prunes; then one does."""
    run, records = a_completed_run()
    commit(journal, records)
    when = datetime.now(UTC) + timedelta(days=1)

    assert journal.prune_if_due(older_than=when, every=timedelta(hours=1)) is None
    assert journal.run(run.id) is not None
    done = journal.prune_if_due(older_than=when, every=timedelta())
    assert done is not None
    assert done.runs == 1
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


def test_owners_without_runs_are_pruned(journal: Journal) -> None:
    """An owner stays as long as a run names it, for its definitions may be loaded again."""
    fence, keeper = journal.register(an_owner()), journal.register(an_owner("keeper"))
    journal.register(an_owner("idle"))
    run = ARun()
    commit(journal, run.enter("P"), fence=fence)
    journal.end("owner", "clean")
    assert ids(journal.claim(keeper)) == [run.id]
    for name in ("keeper", "idle"):
        journal.end(name, "clean")

    done = journal.prune(older_than=datetime.now(UTC) + timedelta(days=1))

    assert done.owners == 1
    assert [owner.id for owner in journal.owners()] == ["owner", "keeper"]


@pytest.mark.parametrize("bound", ["KEPT_SECONDS", "KEPT_BYTES"])
def test_the_feed_is_bounded(journal: Journal, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    """Groups that are too old or too many are deleted; what is behind a cursor is not skipped."""
    monkeypatch.setattr("eventflow.journal.stores.database.TRIM_BYTES", 0)
    runs = [ARun() for _ in range(4)]
    for run in runs[:3]:
        commit(journal, run.enter("P"))
    _, cursor = journal.events_after(START, 9)
    assert [event.id for event in journal.events_after(START, 9)[0]] == [
        run.event_id() for run in runs[:3]
    ]

    monkeypatch.setattr(feed, bound, -1)
    commit(journal, runs[3].enter("P"))

    assert ids(journal.events_after(START, 9)[0]) == [runs[3].event_id()]
    assert journal.events_after(START, 9) == journal.events_after(cursor, 9)
    assert len(journal.runs(RunQuery())) == 4


def test_a_clean_journal_verifies(journal: Journal) -> None:
    """Runs in every state give no finding."""
    fence = journal.register(an_owner())
    run, not_ready = ARun(), ARun()
    parts = [run.enter("P", HOOK, done=1), run.enter("R"), run.enter("R", HOOK)]
    parts += [not_ready.enter("P", state=b"PNotReady", events='["PNotReady",0]', ended=1)]
    for status in (D.RUNNING, D.FAILED, D.DELIVERED, D.DEAD):
        ended, records = a_completed_run(HOOK, HOOK)
        parts += [records, ended.settle(status)]
    commit(journal, *parts, fence=fence)
    journal.redrive(ids(journal.deliveries(DeliveryQuery(statuses=[D.DEAD]))))

    assert journal.verify() == []


def without_definition(run: ARun) -> bytes:
    run.described = b""

    return run.enter("P")


FAULTS: dict[str, Callable[[ARun], bytes]] = {
    "gap": lambda run: run.enter("PRR", events="P0\n!2\nR1"),
    "gap, at the beginning": lambda run: run.enter("PRR", events="!1\nR1R2"),
    "behind": lambda run: run.enter("PR", events="P0R1R2"),
    "behind, without events": lambda run: run.enter("P", events=""),
    "odd run": lambda run: run.enter("P", ended=1),
    "odd run, without an end": lambda run: run.enter("PC", ended=0),
    "odd run, of another state": lambda run: run.enter("PR", events="P0P1"),
    "unknown definition": without_definition,
    "unknown list": lambda run: run.enter("P", HOOK, listed="lost"),
    "odd delivery": lambda run: run.enter("P", HOOK, begun=0, done=1),
    "odd delivery, of another list": lambda run: run.enter("P", HOOK, owed=2),
    "odd delivery, of no list": lambda run: run.enter("P", owed=1),
    "odd delivery, never tried": lambda run: run.enter("P", HOOK) + run.settle(D.DELIVERED, 0),
    "odd delivery, of no status": lambda run: (
        run.enter("P", HOOK) + run.settle("lost")  # type: ignore[arg-type]
    ),
    "orphan delivery": lambda run: run.enter("P") + run.settle(D.FAILED),
    "orphan delivery, of no run": lambda run: run.settle(D.FAILED, sequence=0),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_verify_finds(journal: Journal, kind: str) -> None:
    """Each fault is found, and only that, and reported with its run."""
    fence = journal.register(an_owner())
    run = ARun(created=datetime.now(UTC) + timedelta(hours=1))
    commit(journal, FAULTS[kind](run), fence=fence)

    assert [(finding.kind, finding.run_id) for finding in journal.verify()] == [
        (kind.partition(",")[0], run.id)
    ]


@pytest.mark.parametrize("kind", ["abandoned", "unattended", "unattended, after a failure"])
def test_verify_finds_what_nobody_keeps(journal: Journal, kind: str) -> None:
    """Runs that have not ended, or that owe hooks, whose keeper has ended."""
    run = ARun()
    if kind == "abandoned":
        records = run.enter("PR")
    elif kind == "unattended":
        records = run.enter("PRC", HOOK)
    else:
        records = run.enter("PRC", HOOK, done=1) + run.settle(D.FAILED)
    commit(journal, records, owner="gone")

    (finding,) = journal.verify()

    assert (finding.kind, finding.run_id) == (kind.partition(",")[0], run.id)
    assert "'gone'" in finding.message


def test_statistics_count_every_kind_of_row(journal: Journal) -> None:
    """Deliveries are counted by status, of whichever transition and wherever that is stored."""
    fence = journal.register(an_owner())
    run, ended = ARun(), ARun()
    commit(journal, run.enter("PR", HOOK, HOOK, HOOK, begun=2, done=1), fence=fence)
    commit(journal, ended.enter("P", HOOK, done=1), ended.enter("RC", HOOK, HOOK), fence=fence)
    commit(journal, ended.settle(D.DEAD, 3), fence=fence)

    statistics = journal.statistics()

    assert (statistics.runs, statistics.unfinished, statistics.events) == (2, 1, 5)
    assert statistics.deliveries == {"dead": 1, "delivered": 2, "pending": 2, "running": 1}
    assert (statistics.owners, statistics.alive) == (1, 1)
    assert statistics.size > 0
