"""How many records a run has, what is in them, and when they are appended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventflow import Hook, bus, flow, hook, tags, task
from eventflow.states import StateType
from tests.journal.appended import (
    appended,
    kinds,
    of_kind,
    run_records,
    spans,
    the_writer,
)
from tests.journal.reading import the_run
from tests.journal.scenes import adouble, double, fails, seen

pytestmark = pytest.mark.usefixtures("manual_commits")


def test_a_run_without_hooks_has_one_record_at_its_end() -> None:
    """Called in sync and async code; its definition is told of once."""
    during: list[str] = []
    noting = task(lambda: during.append(kinds()))
    noting()
    noting()
    asyncio.run(adouble(1))
    with pytest.raises(ValueError, match="no"):
        fails()
    # Of the set of hooks for all runs, which is empty, is told once as well.
    assert during == ["", "DHR"]
    assert kinds() == "DHRRDRDR"
    assert spans() == [(0, 2)] * 4
    assert [record.state for record in run_records()] == ["C", "C", "C", "F"]


def test_submitted_and_mapped_runs_have_one_record_each() -> None:
    """The flow around them has two: it is found there while its body executes."""

    @flow
    def main() -> Any:
        before = spans()
        first: Any = double.submit(1)
        assert double.map([first, 2]).result() == [4, 4]
        return before

    assert main() == [(0, 1)]
    assert spans() == [(0, 1), *[(0, 2)] * 3, (2, 2)]


def test_a_submitted_run_whose_crash_has_a_hook_is_recorded_when_it_is_pending() -> None:
    """It may wait for long until a worker is free, and its process may be killed meanwhile."""
    guarded = task(on_crashed=[seen])(lambda: 1)

    @flow
    def main() -> None:
        guarded.submit().wait()

    main()
    assert spans() == [(0, 1), (0, 0), (1, 1), (2, 2), (2, 2)]


def test_the_first_record_of_a_retried_run_is_that_of_its_first_failure() -> None:
    """From then on it has one for each transition, so that another process knows of its delay."""
    outcomes = [ValueError("no"), None]

    @task(retries=1)
    def second_time() -> None:
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome

    second_time()
    assert spans() == [(0, 2), (3, 3), (4, 4)]
    assert (the_run("second_time").run_count, the_run("second_time").sequence) == (2, 4)


@pytest.mark.parametrize("state", [None, "Crashed", StateType.CRASHED, ["Failed", "Crashed"]])
@pytest.mark.parametrize("of", ["the task", "all runs"])
def test_a_run_whose_crash_has_a_hook_is_recorded_before_its_body_begins(
    of: str, state: Any
) -> None:
    """Whether that hook is its own, or one for all runs."""
    own = []
    if of == "the task":
        own = [Hook(seen, state=state)]
    else:
        hook(state=state)(seen)
    task(hooks=own)(spans)()
    during = task(hooks=own)(spans)()
    # Pending has a record of its own if it is owed to the hook.
    one_run = [(0, 0), (1, 1)] if state is None else [(0, 1)]
    assert during == [*one_run, (2, 2), *one_run]


def test_a_crash_hook_for_a_tag_is_known_to_the_next_run() -> None:
    """Although the routes of a definition do not depend on tags."""
    tagged = task(tags=["critical"])(spans)
    assert tagged() == []
    hook(state="Crashed", tags=["critical"])(seen)
    assert tagged() == [(0, 2), (0, 1)]
    hooks = {row[0]: row[-2] for row in of_kind("D")}
    assert len(set(hooks.values())) == 2


def test_a_hook_for_other_states_leaves_a_run_one_record() -> None:
    """It is appended before the hook is called, which has begun in it."""
    during: list[Any] = []
    noting = task(on_completion=[lambda *_: during.append(run_records()[-1])])(kinds)
    assert noting() == ""
    assert kinds() == "DHHLR"
    (record,) = run_records()
    assert (during[0].owed, during[0].begun, during[0].done) == (1, 1, 0)
    assert (record.owed, record.begun, record.done) == (1, 1, 1)
    assert record.events == during[0].events
    assert noting() == "DHHLR"
    assert kinds() == "DHHLRR"


def test_what_runs_share_is_told_again_in_another_segment() -> None:
    """That may be the only one that a recovery finds."""
    declared = task(on_completion=[seen])(lambda: 1)
    declared()
    the_writer().segment = None
    declared()
    assert sorted(kinds()) == sorted("DHHLR")
    declared()
    assert kinds().count("R") == 2
    assert len(kinds()) == 6


def test_runs_with_other_tags_have_another_definition() -> None:
    """The number of a definition stands for its tags as well."""
    for tag in ("a", "b", "a"):
        with tags(tag):
            double(1)
    assert [record.number for record in run_records()] == [1, 2, 1]
    assert [row[5] for row in of_kind("D")] == [["a"], ["b"]]


def test_a_transition_with_a_listener_is_recorded_first() -> None:
    """A listener that reads the journal finds the run there."""
    during: list[Any] = []
    bus.subscribe(lambda _: during.append(spans()), state="Running")
    double(1)
    assert during == [[(0, 1)]]
    assert spans() == [(0, 1), (2, 2)]


def test_parameters_are_recorded_as_they_were_at_running() -> None:
    """A body that changes its arguments does not change what is written later."""

    @task
    def spoil(words: list[str]) -> None:
        words.append("spoilt")

    spoil(["fresh"])
    assert the_run("spoil").parameters == '[{"words":["fresh"]}]'


def test_an_interrupt_while_a_record_is_appended_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A signal handler may run a task with hooks meanwhile."""
    writer = the_writer()
    append = writer.append
    hooked = double.with_options(on_completion=[seen], name="hooked")

    def interrupted(record: bytes, *, owed: bool = False) -> Any:
        monkeypatch.undo()
        hooked(2)
        return append(record, owed=owed)

    monkeypatch.setattr(writer, "append", interrupted)
    hooked(1)
    assert spans() == [(0, 2)] * 2
    assert {record.run for record in run_records()} == {record.run for record in run_records()}
    assert [record.done for record in run_records()] == [1, 1]
    known = {row[0] for row in of_kind("D")}
    assert {record.number for record in run_records()} <= known
    assert len(appended()) >= 6
