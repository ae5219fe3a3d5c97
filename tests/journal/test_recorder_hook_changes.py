"""Hooks that are declared or cancelled while runs execute are recorded for these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from eventflow import bus, flow, hook, task
from eventflow.hooks.sets import RecordedHook
from eventflow.journal.contract import RunQuery
from eventflow.owners.session import OwnerSession
from tests.journal.appended import flush_elsewhere, kinds, of_kind, run_records
from tests.journal.reading import the_recorder, the_run, written
from tests.journal.scenes import double, seen

pytestmark = pytest.mark.usefixtures("manual_commits")


def subject_to(definition: str) -> list[str]:
    """Return the hooks that the journal has for a run: its own, and those for all runs."""
    row = the_run(definition)
    sets = written().hook_sets(row.owner)

    return [
        recorded.id
        for key in (row.hooks, row.global_hooks)
        if key
        for recorded in RecordedHook.read(sets[key])
    ]


@pytest.mark.parametrize("decorator", [flow, task])
def test_a_hook_that_is_declared_while_a_run_executes(decorator: Any) -> None:
    """The run is subject to it from then on; what was recorded before names the former hooks."""

    @decorator(name="work", on_crashed=[seen])
    def work() -> None:
        assert len(subject_to("work")) == 1
        work.on_failure(seen)
        assert len(subject_to("work")) == 2
        hook(state="Failed", id="global")(seen)
        assert subject_to("work")[2:] == ["global"]
        bus.subscriptions[-1].cancel()
        assert len(subject_to("work")) == 2

    work()
    # Cancelled, it leaves what there was: a definition has a number.
    assert of_kind("C") == [[1, 2], [2, 3], [3, 2]]
    assert [record.number for record in run_records()] == [1, 2]
    assert len(subject_to("work")) == 2


def test_a_run_that_has_no_record_is_recorded_with_the_hooks_of_that_moment() -> None:
    """It has then one definition only."""

    @task
    def work() -> None:
        work.on_crashed(seen)
        assert len(subject_to("work")) == 1

    work()
    assert of_kind("C") == []
    assert {record.number for record in run_records()} == {row[0] for row in of_kind("D")[-1:]}


def test_runs_of_other_definitions_keep_their_numbers() -> None:
    """Only a hook for all runs changes those of all."""
    others = task(lambda: 1)

    @task(on_crashed=[seen])
    def work() -> None:
        others.on_completion(seen)
        assert of_kind("C") == []

    work()


def test_runs_that_have_ended_keep_their_hooks() -> None:
    """They were subject to those."""
    work = task(name="work", on_completion=[seen])(lambda: 1)
    work()
    assert len(subject_to("work")) == 1
    work.on_failure(seen)
    hook(state="Failed")(seen)
    assert len(subject_to("work")) == 1


class BeforeLock:
    """The lock of a session, before which something happens the first time that it is taken."""

    def __init__(self, session: OwnerSession, deed: Callable[[], object]) -> None:
        self._lock: Any = session.turns.lock
        self._deeds = [deed]
        session.turns.lock = self  # type: ignore[assignment]

    def __enter__(self) -> None:
        while self._deeds:
            self._deeds.pop()()
        self._lock.__enter__()

    def __exit__(self, *details: object) -> None:
        self._lock.__exit__(*details)


def the_session() -> OwnerSession:
    sink = the_recorder().sink
    assert isinstance(sink, OwnerSession)

    return sink


def test_a_hook_that_is_declared_before_a_record_is_made() -> None:
    """It is in that record, although the run was planned before: no later one tells of it."""

    main = flow(name="main")(lambda: 1)
    main()
    # Its plan is known: the lock is taken first for the record before the body.
    BeforeLock(the_session(), lambda: hook(state="Crashed", id="late")(seen))
    main()
    newest, _ = written().runs(RunQuery())
    sets = written().hook_sets(newest.owner)
    assert newest.global_hooks is not None
    assert [each.id for each in RecordedHook.read(sets[newest.global_hooks])] == ["late"]
    assert of_kind("C") == []


def test_a_run_that_others_have_taken_over_is_left_alone() -> None:
    """The numbers of its definitions are those of another owner."""

    @flow(name="main")
    def main() -> None:
        flush_elsewhere()
        the_session().resign(the_session().owner)
        double(1)
        hook(state="Crashed")(seen)
        assert "C" not in kinds()
        flush_elsewhere()
        assert "C" not in kinds()

    main()
