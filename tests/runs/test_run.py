"""Runs: identity, the one place where a state is entered, times and names."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from eventflow import flow, task
from eventflow.errors import IllegalTransition
from eventflow.primitives.ids import new_id
from eventflow.runs.run import FlowRun, Run, TaskRun
from eventflow.settings import temporary_settings
from eventflow.states import Completed, Failed, NotReady, Pending, Running, Scheduled
from eventflow.testing import Isolated

DEFINITION = SimpleNamespace(name="it")


def made(kind: type[Run] = TaskRun, parent: Run | None = None, **parameters: Any) -> Run:
    return kind(DEFINITION, "it", lambda: parameters, frozenset({"b", "a"}), parent)


def test_entering_a_state_returns_the_transition() -> None:
    """Each transition has the id of the previous one, and a number without a gap."""
    run = made()
    first, second = Pending(), Running()
    transitions = [run.enter(first), run.enter(second), run.enter(Completed())]

    assert [transition.sequence for transition in transitions] == [0, 1, 2]
    assert [transition.follows for transition in transitions] == [None, first.id, second.id]
    assert [transition.run_count for transition in transitions] == [0, 1, 1]
    transition = transitions[1]
    assert (transition.run, transition.from_state, transition.to_state) == (run, first, second)
    assert (transition.definition, transition.definition_name, transition.run_type) == (
        DEFINITION,
        "it",
        "task",
    )
    assert (transition.run_id, sorted(transition.tags)) == (run.id, ["a", "b"])


def test_an_illegal_transition_changes_nothing() -> None:
    """The error names the run, both states and what is allowed; the run stays as it was."""
    run = made()
    with pytest.raises(IllegalTransition, match="PENDING"):
        run.enter(Completed())
    assert run.state is None
    run.enter(Pending())
    run.enter(Failed())
    with pytest.raises(IllegalTransition, match="Failed"):
        run.enter(Running())

    assert run.state_name == "Failed"
    assert run.transitions == 2


def test_times_are_kept() -> None:
    """Start is the first Running, end the terminal state, created the first of all."""
    run = made()
    states = [Scheduled(), Pending(), Running(), Scheduled(name="AwaitingRetry"), Running()]
    for state in states:
        run.enter(state)
    assert run.end_time is None
    assert run.total_run_time.total_seconds() >= 0
    last = Completed()
    run.enter(last)
    total = run.total_run_time

    assert run.created == run.expected_start_time == states[0].timestamp
    assert run.start_time == states[2].timestamp
    assert run.end_time == last.timestamp
    assert run.run_count == 2
    assert run.total_run_time == total
    assert run.cancel_scope.closed


def test_a_run_that_is_not_ready_has_ended() -> None:
    """NotReady is of a type that goes on, but the run does not."""
    run = made()
    run.enter(Pending())
    run.enter(NotReady())

    assert run.end_time is not None
    assert not run.cancel()


def test_runs_know_the_runs_around_them() -> None:
    """A flow run without a parent is its own root; its descendants inherit flow run and root."""
    outer = made(FlowRun)
    inner = made(FlowRun, outer)
    leaf = made(TaskRun, inner)
    alone = made(TaskRun)
    assert isinstance(inner, FlowRun)
    assert isinstance(leaf, TaskRun)

    assert (outer.flow_run_id, outer.root_flow_run_id) == (outer.id, outer.id)
    assert (inner.parent_flow_run_id, inner.root_flow_run_id) == (outer.id, outer.id)
    assert (leaf.parent_run_id, leaf.flow_run_id) == (inner.id, inner.id)
    assert leaf.root_flow_run_id == outer.id
    assert (alone.flow_run_id, alone.root_flow_run_id, alone.parent_run_id) == (None, None, None)
    assert (inner.flow_name, leaf.task_name) == ("it", "it")


def test_a_flow_run_has_two_words_as_its_name() -> None:
    """They follow from its id."""
    run = made(FlowRun)
    words = run.name

    assert re.fullmatch("[a-z]+-[a-z]+", words)
    assert run.name == words


def test_a_task_run_is_named_after_its_task_and_its_id() -> None:
    """The last three digits of its id follow the name of the task."""
    run, other = made(), made()

    assert run.name == f"it-{run.id.hex[-3:]}"
    assert run.name == run.name
    assert other.name == f"it-{other.id.hex[-3:]}"


def test_a_run_is_given_a_name() -> None:
    """It takes the place of the default; ids grow with time."""
    run, later = made(), made()
    run.name = "file \udcff"
    assert run.name == "file \\udcff"
    assert run.id < later.id
    assert run.id.version == 7
    assert "file" in repr(run)


def test_parameters_are_bound_when_they_are_read() -> None:
    """They are bound once, and not before."""
    calls: list[int] = []

    def bind() -> dict[str, int]:
        calls.append(1)
        return {"x": 1}

    run = TaskRun(DEFINITION, "it", bind, frozenset(), None)
    assert not calls
    assert run.parameters == run.parameters == {"x": 1}
    assert len(calls) == 1
    run.parameters = {"x": 2}
    assert run.parameters == {"x": 2}
    assert made().tags == ["a", "b"]


def test_state_shortcuts() -> None:
    """A run without a state has neither type nor name of one."""
    run = made()
    assert (run.state_type, run.state_name) == (None, None)
    run.enter(Pending())
    assert (run.state_type, run.state_name) == ("PENDING", "Pending")
    assert run.cancel()
    assert not run.cancel()


def test_hooks_see_the_terminal_state_of_their_run(eventflow_isolated: Isolated) -> None:
    """End and duration are known before the terminal hooks run."""
    seen: list[tuple[Any, ...]] = []

    def hook(definition: Any, run: Run, state: Any) -> None:
        seen.append((run.end_time == state.timestamp, run.total_run_time, run.state_name))

    @task(on_completion=[hook])
    def work() -> None: ...

    @flow(on_completion=[hook])
    def outer() -> None:
        work()

    outer()

    assert [(ended, name) for ended, _, name in seen] == [(True, "Completed")] * 2


def test_a_run_that_is_not_read_builds_no_states(
    eventflow_isolated: Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without subscribers and journal, a completed call leaves its states lazy."""
    built: list[object] = []
    monkeypatch.setattr(
        "eventflow.runs.lazy_states.make_state", lambda *args, **kwargs: built.append(args)
    )
    with temporary_settings({"EVENTFLOW_DURABILITY": "off"}):
        assert task(lambda: 7)() == 7
    assert built == []


def test_a_restored_run_has_the_id_that_it_had() -> None:
    """So has a flow run, which reads its own id before the facts are set."""
    key = new_id()
    facts = {"number": key.int, "flow_run_id": key}
    run = FlowRun.restored(DEFINITION, "it", Running(), facts)
    assert (run.id, run.flow_run_id) == (key, key)
