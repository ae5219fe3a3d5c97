"""A timeline has each transition once: what the feed keeps no longer is read from the runs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventflow.client import archive as archive_module
from eventflow.client import timeline as timeline_module
from eventflow.client.archive import Archive
from eventflow.client.timeline import Happening, Timeline, past_of, past_within
from eventflow.journal import open_journal
from eventflow.journal.contract import START, Journal
from eventflow.journal.rows import OwnEvent, micros
from eventflow.journal.stores.memory import MemoryJournal
from tests.journal.rows import AT, NOW, SECOND, ARun, commit, forget, own_event

LONG_AGO = NOW - timedelta(days=365)


def named(happened: Iterable[Happening], *runs: ARun) -> list[tuple[int, int] | str]:
    """Return the transitions as the place of the run and the sequence."""
    places = {run.id: place for place, run in enumerate(runs)}

    return [
        "own" if isinstance(event, OwnEvent) else (places[event.run_id], event.sequence)
        for event in happened
    ]


def a_timeline(journal: Journal, since: datetime = NOW, run: ARun | None = None) -> Timeline:
    return Timeline(Archive(journal), since, None if run is None else run.id)


def made(*seconds: int, **given: Any) -> list[ARun]:
    """Make runs that were created so many seconds after each other."""
    return [ARun(created=NOW + timedelta(seconds=second), **given) for second in seconds]


def test_the_past_is_in_the_order_of_time(journal: Journal) -> None:
    """Whatever the order of the commits; then comes what is new, in theirs."""
    long, short, late = runs = made(0, 1, 5)
    commit(journal, late.enter("PRC"))
    commit(journal, short.enter("PRC"), long.enter("P"))
    commit(journal, long.enter("RRRRRRR"))
    forget(journal)
    timeline = a_timeline(journal)

    past = named(timeline.events(), *runs)
    commit(journal, long.enter("C"))

    assert past == [
        *((0, 0), (0, 1), (1, 0), (0, 2), (1, 1), (0, 3), (1, 2)),
        *((0, 4), (0, 5), (2, 0), (0, 6), (2, 1), (0, 7), (2, 2)),
    ]
    assert named(timeline.events(), *runs) == [(0, 8)]
    assert named(timeline.events(), *runs) == []


def test_where_the_feed_keeps_all_no_run_is_read(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The events come in the order of the commits, from the first one since the moment on."""
    first, second = runs = made(0, 1)
    commit(journal, second.enter("P"), own_event(AT + SECOND))
    commit(journal, first.enter("PR"))
    monkeypatch.setattr(type(journal), "histories", None)

    assert named(a_timeline(journal).events(), *runs) == [(1, 0), "own", (0, 0), (0, 1)]
    assert named(a_timeline(journal, second.moment(0)).events(), *runs) == [(1, 0), "own", (0, 1)]
    assert named(Timeline(Archive(journal)).events(), *runs) == []


def test_runs_of_before_count_with_what_they_did_since(journal: Journal) -> None:
    """If they have ended since, or not at all."""
    ended, ended_since, unfinished = runs = made(0, 1, 2)
    commit(journal, ended.enter("PRC"), ended_since.enter("PR"), unfinished.enter("PRR"))
    commit(journal, ended_since.enter("RRC"))
    forget(journal)

    since = NOW + timedelta(seconds=4)

    assert named(a_timeline(journal, since).events(), *runs) == [(1, 3), (2, 2), (1, 4)]
    assert named(past_of(Archive(journal), since), *runs) == [(1, 3), (2, 2), (1, 4)]


def test_what_is_committed_while_the_past_is_read_is_there_once(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of runs that were read already, of runs that come later, and of new ones."""
    monkeypatch.setattr(archive_module, "BATCH", 1)
    first, second, third = made(0, 10, 20)
    for run in (first, second, third):
        commit(journal, run.enter("P"))
    forget(journal)
    timeline = a_timeline(journal)
    events = timeline.events()

    found = [*islice(events, 1)]
    (new,) = made(30)
    commit(journal, first.enter("RC"), third.enter("R"), new.enter("PR"))
    found += islice(events, 1)
    commit(journal, third.enter("C"))
    found += [*events, *timeline.events()]

    assert sorted(named(found, first, second, third, new)) == [
        *((0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1), (2, 2), (3, 0), (3, 1))
    ]


def test_the_past_is_read_in_parts(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more runs are read, and kept, than are needed for the next event."""
    monkeypatch.setattr(archive_module, "BATCH", 2)
    runs = made(*range(0, 100, 10))
    commit(journal, *(run.enter("PRC") for run in runs))
    archive = Archive(journal)
    read: list[int] = []
    histories = Archive.histories

    def noted(*arguments: Any) -> Any:
        read.append(1)
        return histories(*arguments)

    monkeypatch.setattr(Archive, "histories", noted)
    events = past_of(archive)

    for place in range(8):
        assert named(islice(events, 3), *runs) == [(place, sequence) for sequence in range(3)]
        assert len(read) <= place // 2 + 2


def test_the_past_may_end(journal: Journal) -> None:
    """At a moment: what happened after it is not read."""
    runs = made(0, 1, 10)
    commit(journal, *(run.enter("PRC") for run in runs))
    until = NOW + timedelta(seconds=2)

    assert named(past_of(Archive(journal), None, until), *runs) == [
        *((0, 0), (0, 1), (1, 0), (0, 2), (1, 1))
    ]


def test_the_events_of_a_run_stay_in_order(journal: Journal) -> None:
    """Even if the clock was set back meanwhile."""
    back, other = made(0, 1)
    commit(journal, back.enter("PRC", events=f"P0R{-9 * SECOND}C{3 * SECOND}"))
    commit(journal, other.enter("PRC"))

    assert named(past_of(Archive(journal)), back, other) == [
        *((0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (1, 2))
    ]


def test_users_own_events_are_among_the_past(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as the feed has them, in their place by time, and each once."""
    monkeypatch.setattr(timeline_module, "CHUNK", 100)
    before, after = made(0, 10)
    commit(journal, before.enter("PRC"), after.enter("PRC"), own_event())
    forget(journal)
    commit(journal, own_event(AT + 5 * SECOND), own_event(AT + 11 * SECOND))
    timeline = a_timeline(journal)
    events = timeline.events()

    found = [*islice(events, 1)]
    commit(journal, own_event(AT + 20 * SECOND))
    found += events
    commit(journal, own_event(AT + 5 * SECOND))

    assert named(found, before, after) == [
        *((0, 0), (0, 1), (0, 2), "own", (1, 0), (1, 1), "own", (1, 2)),
        "own",
    ]
    assert named(timeline.events()) == ["own"]


def test_own_events_that_come_while_the_past_is_read_are_there_once(journal: Journal) -> None:
    """Though they are read with the last ones of before."""
    (run,) = made(0)
    commit(journal, run.enter("P"))
    forget(journal)
    timeline = a_timeline(journal, LONG_AGO)
    commit(journal, own_event())

    assert named(timeline.events(), run) == ["own", "own", (0, 0)]
    assert named(timeline.events(), run) == []


def test_a_commit_that_is_repeated_is_there_once(journal: Journal) -> None:
    """As where nobody knows whether it succeeded: users' own events are in the feed twice then."""
    (run,) = made(0)
    records = run.enter("PR") + own_event(AT)
    timeline = a_timeline(journal)
    for _ in range(2):
        commit(journal, records)
    assert len(journal.events_after(START, 9)[0]) > 3

    assert named(timeline.events(), run) == [(0, 0), (0, 1), "own"]
    commit(journal, records)
    assert named(timeline.events(), run) == []


def test_a_timeline_of_a_run_has_what_it_called(journal: Journal) -> None:
    """And no users' own events, as these belong to no run."""
    (top,) = made(0)
    child, other = made(1, parent=top) + made(1)
    (below,) = made(3, parent=child)
    runs = (top, child, other, below)
    commit(journal, *(run.enter("PR") for run in runs), own_event(AT + SECOND))
    forget(journal)
    timeline = a_timeline(journal, NOW, top)

    assert named(timeline.events(), *runs) == [(0, 0), (0, 1), (1, 0), (1, 1), (3, 0), (3, 1)]
    commit(journal, own_event(AT + SECOND), *(run.enter("C") for run in runs))
    assert named(timeline.events(), *runs) == [(0, 2), (1, 2), (3, 2)]
    assert named(past_within(Archive(journal), child.id), *runs) == [
        *((1, 0), (1, 1), (1, 2), (3, 0), (3, 1), (3, 2))
    ]


def test_what_was_committed_during_an_older_transaction_is_there_once(postgres_url: str) -> None:
    """PostgreSQL has it in the feed only after that has ended."""
    journal = open_journal(postgres_url)
    run = ARun(created=datetime.now(UTC))
    commit(journal, ARun().enter("P"))
    forget(journal)
    with psycopg.connect(postgres_url) as connection:
        connection.execute("SELECT pg_current_xact_id()")
        commit(journal, run.enter("P"))
        timeline = a_timeline(journal, run.moment(0))

        assert named(timeline.events(), run) == [(0, 0)]
        assert named(timeline.events(), run) == []
        connection.commit()

    commit(journal, run.enter("R"))
    assert named(timeline.events(), run) == [(0, 1)]
    journal.close()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.integers(0, 4)),
        st.tuples(st.just("read"), st.integers(1, 4)),
    ),
    max_size=25,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seconds=st.lists(st.integers(0, 20), min_size=5, max_size=5),
    before=st.lists(st.integers(0, 4), max_size=15),
    steps=STEPS,
    since=st.integers(0, 25),
    batch=st.integers(1, 3),
    is_forgotten=st.booleans(),
)
def test_any_timeline_has_each_transition_once(
    *,
    seconds: list[int],
    before: list[int],
    steps: list[tuple[str, int]],
    since: int,
    batch: int,
    is_forgotten: bool,
) -> None:
    """However commits and reads follow each other, and in the order of each run."""
    journal = MemoryJournal()
    runs = made(*seconds)
    moment = NOW + timedelta(seconds=since)

    def enter(place: int) -> None:
        commit(journal, runs[place].enter("P" if runs[place].sequence < 0 else "R"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive_module, "BATCH", batch)
        patch.setattr(timeline_module, "CHUNK", batch)
        for place in before:
            enter(place)
        if is_forgotten:
            forget(journal)
        timeline = a_timeline(journal, moment)
        events = timeline.events()
        found: list[Happening] = []
        for step, number in steps:
            if step == "enter":
                enter(number)
            else:
                found += islice(events, number)
        found += [*events, *timeline.events()]

    transitions = [each for each in named(found, *runs) if each != "own"]
    assert sorted(transitions, key=str) == sorted(
        (
            (place, sequence)
            for place, run in enumerate(runs)
            for sequence in range(run.sequence + 1)
            if run.at(sequence) >= micros(moment)
        ),
        key=str,
    )
    for place in range(len(runs)):
        own = [each for each in transitions if each[0] == place]
        assert own == sorted(own, key=lambda each: each[1])
