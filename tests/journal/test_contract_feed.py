"""The contract of the feed: how long it is kept, and where what is older is read from."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import UUID

import pytest

from eventflow.journal.contract import START, Journal
from eventflow.journal.records import pack
from eventflow.journal.stores import database, feed
from tests.journal.rows import AT, HOOK, NOW, SECOND, ARun, commit, ids


def pass_time(journal: Journal, seconds: float) -> None:
    """Have what is in the feed be older by that."""
    text = "UPDATE @feed SET at = at - ?"
    journal.transact(lambda session: session.run(text, (int(seconds * SECOND),)))  # type: ignore[attr-defined]


def kept(journal: Journal) -> list[UUID]:
    """Return the events that the feed keeps."""
    return ids(journal.events_after(START, 1_000)[0])


def commit_runs(journal: Journal, count: int) -> list[UUID]:
    """Commit runs in groups of their own; returns the ids of their events."""
    runs = [ARun() for _ in range(count)]
    for run in runs:
        commit(journal, run.enter("P"))

    return [run.event_id() for run in runs]


# -- how long it is kept -------------------------------------------------------------------------


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the feed be trimmed at every commit."""
    monkeypatch.setattr(database, "TRIM_BYTES", 0)


@pytest.mark.usefixtures("often")
def test_groups_are_kept_for_an_hour(journal: Journal) -> None:
    """By the clock of the database; those that are older are deleted at a later commit."""
    early = commit_runs(journal, 2)
    pass_time(journal, 3_500)
    later = commit_runs(journal, 1)
    assert kept(journal) == early + later

    pass_time(journal, 101)
    last = commit_runs(journal, 1)

    assert kept(journal) == later + last


@pytest.mark.usefixtures("often")
def test_groups_are_kept_up_to_a_number_of_bytes(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest ones; of a group that is larger, all."""
    size = len(pack("E", [UUID(int=0).hex, "my.order", AT, "x" * 1_000]))
    monkeypatch.setattr(feed, "KEPT_BYTES", 3 * size + size // 2)
    keys = [UUID(int=number) for number in range(6)]
    for key in keys:
        commit(journal, pack("E", [key.hex, "my.order", AT, "x" * 1_000]))
    assert kept(journal) == keys[-3:]

    large = UUID(int=7)
    commit(journal, pack("E", [large.hex, "my.order", AT, "x" * 10_000]))

    assert kept(journal) == [large]


def test_the_feed_is_trimmed_now_and_then(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at each commit: after a minute, or after a number of bytes."""
    now = time.monotonic()
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr(database, "time", clock)
    old = commit_runs(journal, 1)
    pass_time(journal, 3_601)
    new = commit_runs(journal, 1)
    assert kept(journal) == old + new

    now += database.TRIM_SECONDS + 1
    new += commit_runs(journal, 1)
    assert kept(journal) == new

    pass_time(journal, 3_601)
    key = UUID(int=7)
    large = pack("E", [key.hex, "my.order", AT, "x" * database.TRIM_BYTES])
    commit(journal, large)
    newest = commit_runs(journal, 1)
    assert kept(journal) == [key, *newest]


@pytest.mark.usefixtures("often")
def test_it_is_known_what_the_feed_keeps(journal: Journal) -> None:
    """Everything, until something is deleted; then what was committed since the oldest group."""
    long_ago, an_hour_ago = NOW - timedelta(days=9_999), datetime.now(UTC) - timedelta(hours=1)
    assert journal.keeps(long_ago)
    commit_runs(journal, 2)
    pass_time(journal, 3_590)
    assert journal.keeps(long_ago)

    pass_time(journal, 20)
    commit_runs(journal, 2)
    assert not journal.keeps(long_ago)
    assert not journal.keeps(an_hour_ago)
    assert journal.keeps(datetime.now(UTC) + timedelta(hours=1))
    # Nothing was committed since, so nothing is missing.
    pass_time(journal, 7_200)
    assert journal.keeps(an_hour_ago)


# -- what is older -------------------------------------------------------------------------------


def test_runs_are_read_with_their_events(journal: Journal) -> None:
    """In the order of their ids, so many at a time, as they are read one by one."""
    runs = [ARun(created=NOW + timedelta(minutes=count)) for count in range(5)]
    for run in reversed(runs):
        commit(journal, run.enter("PR"), run.enter("C", HOOK, done=1))

    first = journal.histories(NOW, None, 3)
    second = journal.histories(NOW, first[-1][0].id, 3)

    assert [run.id for run, _ in first + second] == [run.id for run in runs]
    assert journal.histories(NOW, second[-1][0].id, 3) == []
    for row, events in first + second:
        assert row == journal.run(row.id)
        assert events == journal.events(row.id)
        assert len(events) == 3


def test_runs_that_had_ended_before_are_not_read(journal: Journal) -> None:
    """Those that were made before and have ended since are, and those that have not ended."""
    ended, unfinished, ended_since, made_since = ARun(), ARun(), ARun(), ARun()
    since = NOW + timedelta(hours=1)
    commit(journal, ended.enter("PRC"), unfinished.enter("PR"), made_since.enter("P"))
    at = AT + 3600 * SECOND
    commit(journal, ended_since.enter("PC", events=f"P0C{3600 * SECOND}", ended=at))

    assert [run.id for run, _ in journal.histories(since, None, 9)] == [
        *(unfinished.id, ended_since.id, made_since.id)
    ]
