"""A run whose hook may be told that it lasts is known to others from its first moment on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventflow import Hook, flow, task
from eventflow.hooks.sets import RecordedHook
from eventflow.journal.contract import RunQuery
from eventflow.journal.records import BEGUN, RunRecord, scan
from eventflow.journal.wal.appender import Appender
from eventflow.journal.wal.spool import peek_segments
from tests.journal.appended import flush_elsewhere, kinds, spans, the_writer
from tests.journal.reading import the_recorder, written
from tests.owners.owning import session as the_session

pytestmark = pytest.mark.usefixtures("no_heartbeat", "manual_commits")


@pytest.fixture
def no_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have open runs recorded by commits only."""
    monkeypatch.setattr("eventflow.owners.session.Heartbeat.start", lambda _: None)


def slow(definition: Any, run: Any, state: Any) -> None: ...


LATE = Hook(slow, state="Running", lasting=1800)


@task(hooks=[LATE], task_run_name="{name}")
def named(name: str) -> RunRecord:
    return others_see()[-1]


@task(hooks=[LATE])
def work(do: Callable[[], Any]) -> Any:
    return do()


@task(hooks=[LATE])
async def awork(do: Callable[[], Any]) -> Any:
    await asyncio.sleep(0)
    return do()


def the_folder() -> Path:
    spool = the_writer().spool
    assert spool is not None

    return spool.folder


def others_see() -> list[RunRecord]:
    """Return what others find of runs that the journal does not have yet."""
    found = []
    for group in peek_segments(the_folder()):
        records = [each for each in scan(group.data) if each.kind == "R"]
        found += [RunRecord.read(group.data, each.start, each.end) for each in records]

    return found


def begin() -> None:
    """Have the present segment hold what the runs refer to: the first ones are recorded whole."""
    work(int)
    named("")
    asyncio.run(awork(int))


def test_a_run_is_noted_until_it_ends() -> None:
    """Then its whole life has one record, where the note was."""
    begin()
    before = len(spans())

    def look() -> RunRecord:
        assert kinds()[-1] == BEGUN
        return others_see()[-1]

    for seen in (work(look), asyncio.run(awork(look))):
        assert (seen.first, seen.last, seen.state, seen.ended) == (0, 1, "R", 0)
        assert seen.events.startswith("P0R")
        assert "look" in seen.facts
    assert BEGUN not in kinds()
    assert spans()[before:] == [(0, 2)] * 2
    assert written().verify() == []


def test_what_is_noted_of_a_run_is_what_is_recorded_later() -> None:
    """Its name and the runs above it, whatever these are."""

    @flow
    def inner() -> RunRecord:
        return named("Zoë's")

    @flow
    def outer() -> RunRecord:
        begin()
        return inner()

    seen = outer()
    (row,) = written().runs(RunQuery(name="Zoë's"))
    assert (row.id.int, seen.name) == (seen.run, "Zoë's")
    assert row.created.timestamp() * 1e6 == pytest.approx(seen.created, abs=1)
    assert row.parent_run_id is not None
    assert (row.parent_run_id.int, row.flow_run_id) == (seen.parent, row.parent_run_id)
    assert row.root_flow_run_id not in {None, row.flow_run_id}
    assert row.root_flow_run_id is not None
    assert row.root_flow_run_id.hex in seen.facts


@pytest.mark.parametrize("ends", [int, lambda: 1 // 0], ids=["completes", "fails"])
def test_a_commit_records_a_run_that_is_noted(ends: Callable[[], Any]) -> None:
    """Then it goes on from there, as others do."""
    begin()

    def commit() -> Any:
        flush_elsewhere()
        return ends()

    work(commit, return_state=True)
    assert BEGUN not in kinds()
    assert spans()[-2:] == [(0, 1), (2, 2)]
    assert written().verify() == []


def test_a_commit_between_the_note_and_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is left to its own thread: the note stays where it is, and is skipped."""
    begin()
    flush_elsewhere()
    note = Appender.note

    def commit_after(writer: Appender, record: bytes, told: object) -> Any:
        made = note(writer, record, told)
        # As the commit does whose look at the runs was before this one.
        segment = made and made[0].take(everything=True)
        assert segment is not None
        return made

    monkeypatch.setattr(Appender, "note", commit_after)
    work(int)
    assert kinds()[-2:] == f"{BEGUN}R"
    assert spans()[-1] == (0, 2)
    assert the_recorder().flush()
    assert written().verify() == []
    assert all(row.ended for row in written().runs(RunQuery()))


def test_runs_within_runs() -> None:
    """The notes of the outer ones stay; all have one record."""
    begin()
    before = len(spans())
    seen = work(lambda: work(lambda: work(others_see)))

    assert [each.state for each in seen[-3:]] == ["R"] * 3
    assert kinds().count(BEGUN) == 2
    assert spans()[before:] == [(0, 2)] * 3
    assert written().verify() == []
    assert len([*written().histories(written().runs(RunQuery())[-1].created, None, 99)]) == 6


def test_a_hook_that_is_declared_while_a_run_is_noted() -> None:
    """Others know of it as well."""
    begin()
    journal, owner = written(), the_recorder().owner_id

    @task(name="other", hooks=[LATE])
    def other() -> int:
        other.on_failure(slow)
        for group in peek_segments(the_folder()):
            journal.commit(group, owner)
        (row,) = journal.runs(RunQuery(definition="other", unfinished=True))
        assert row.hooks is not None
        return len(RecordedHook.read(journal.hook_sets(owner)[row.hooks]))

    assert [other(), other()] == [2, 3]
    assert journal.verify() == []


def test_without_such_a_hook_nothing_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor where files are not mapped: then the beginning is recorded."""
    monkeypatch.delattr(Appender, "note")

    @task(on_completion=[slow])
    def plain() -> None: ...

    plain()
    plain()
    assert spans() == [(0, 2)] * 2


def test_a_file_that_is_not_mapped(no_mapping: None) -> None:
    """There the beginning is recorded, as it was written down twice otherwise."""
    begin()
    before = len(spans())
    work(int)
    assert spans()[before:] == [(0, 1), (2, 2)]


def test_a_run_that_others_have_from_the_note_is_theirs() -> None:
    """An owner that they took for dead meanwhile does not record it under its new name."""
    begin()
    flush_elsewhere()
    recorder = the_recorder()

    def be_taken_for_dead() -> None:
        for group in peek_segments(the_folder()):
            recorder.journal.commit(group, recorder.owner_id)
        the_session().resign(recorder.owner_id)

    before = recorder.owner_id
    work(be_taken_for_dead)
    (row,) = written().runs(RunQuery(unfinished=True))
    assert (row.definition, row.owner, row.state_name) == ("work", before, "Running")
