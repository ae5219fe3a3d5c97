"""The states of runs know the run that entered them, wherever they are read."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from eventflow import flow, task
from eventflow.context import get_run_context
from eventflow.events import Event, StateTransition
from eventflow.states import Completed, State
from eventflow.testing import capture_events

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


def ids(state: Any) -> tuple[Any, Any]:
    return state.state_details.flow_run_id, state.state_details.task_run_id


def test_states_know_their_run_wherever_they_are_read() -> None:
    """In hooks, futures, events, and what a call returns, of flows and tasks, sync and async."""
    in_hooks: list[Any] = []

    def note(definition: Any, run: Any, state: Any) -> None:
        in_hooks.append((run, state))

    @task(on_running=[note], on_completion=[note])
    def work() -> int:
        return 1

    @task(on_completion=[note])
    async def awork() -> int:
        return 1

    @flow(on_running=[note], on_completion=[note])
    def main() -> tuple[Any, Any]:
        run = get_run_context().run
        future = work.submit()
        future.wait()
        assert ids(future.state) == (run.id, future.task_run_id)
        called = work(return_state=True)
        assert called.state_details.flow_run_id == run.id
        assert asyncio.run(awork(return_state=True)).state_details.flow_run_id == run.id
        return run, called

    with capture_events() as events:
        (run, called), state = main(), main(return_state=True)
    assert called.state_details.task_run_id is not None
    assert ids(run.state) == (run.id, None)
    assert state.state_details.flow_run_id != run.id
    assert len(in_hooks) == 14
    for hooked, seen in in_hooks:
        task_run_id = hooked.id if hooked.run_type == "task" else None
        assert ids(seen) == (hooked.flow_run_id, task_run_id)
    for event in (event for event in events if isinstance(event, StateTransition)):
        task_run_id = event.run_id if event.run_type == "task" else None
        assert ids(event.to_state) == (event.flow_run_id, task_run_id)
        assert event.from_state is None or ids(event.from_state) == ids(event.to_state)


def test_a_task_outside_of_a_flow_has_no_flow_run() -> None:
    """Its states have its own id only; those of another run never change hands."""

    @task
    def child() -> int:
        return 1

    @task
    def parent() -> State[int]:
        return child(return_state=True)

    state = parent(return_state=True)
    assert state.state_details.flow_run_id is None
    inner = state.result()
    assert inner.state_details.task_run_id is not None
    assert inner.state_details.task_run_id != state.state_details.task_run_id


def test_a_state_made_by_hand_becomes_that_of_the_run() -> None:
    """Without a change to the one that was made, which many runs may return."""
    made = Completed(data=3, name="Done")

    @flow
    def main() -> Any:
        return made

    entered = [main(return_state=True) for _ in range(2)]
    assert ids(made) == (None, None)
    assert len({state.state_details.flow_run_id for state in entered}) == 2
    assert [(state.name, state.result()) for state in entered] == [("Done", 3)] * 2


def test_a_retry_is_scheduled(eventflow_events: list[Event]) -> None:
    """AwaitingRetry says for when; the other states are for no time."""

    @task(retries=1, retry_delay_seconds=0.01)
    def flaky() -> None:
        if get_run_context().run.run_count == 1:
            raise OSError("no luck")

    flaky()
    states = [event.to_state for event in eventflow_events if isinstance(event, StateTransition)]
    times = {state.name: state.state_details.scheduled_time for state in states}
    awaiting = next(state for state in states if state.name == "AwaitingRetry")
    scheduled = times.pop("AwaitingRetry")
    assert scheduled is not None
    assert scheduled >= awaiting.timestamp
    assert scheduled - awaiting.timestamp <= timedelta(seconds=0.01)
    assert set(times.values()) == {None}


def test_a_cached_task_has_its_key() -> None:
    """The run that computes the result and the one that is given it."""

    @task(cache_key_fn=lambda context, parameters: "the key")
    def known() -> int:
        return 1

    states = [known(return_state=True) for _ in range(2)]
    assert [state.name for state in states] == ["Completed", "Cached"]
    assert {state.state_details.cache_key for state in states} == {"the key"}
    assert flow(lambda: 1)(return_state=True).state_details.cache_key is None
