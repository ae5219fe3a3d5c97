"""Invocations: the tags, names and arguments of runs before they are executed."""

from __future__ import annotations

from typing import Any

import pytest

from eventflow import bus, flow, tags, task
from eventflow.events import Event, StateTransition
from eventflow.states import Completed, Failed


def test_a_run_has_the_tags_of_its_definition_and_of_the_blocks_around(
    eventflow_events: list[Event],
) -> None:
    """Both are in every event of the run."""

    @task(tags={"own"})
    def work() -> None: ...

    with tags("outer", "own"), tags("inner"):
        work()

    assert {event.tags for event in eventflow_events if isinstance(event, StateTransition)} == {
        frozenset({"own", "outer", "inner"})
    }


def test_a_run_is_named_by_its_parameters(eventflow_events: list[Event]) -> None:
    """Defaults count, and a future's result once it is there."""

    @task
    def upstream() -> int:
        return 1

    @task(task_run_name="load-{number}-{unit}")
    def load(number: int, unit: str = "m") -> None: ...

    @flow
    def main() -> None:
        load(3)
        load.submit(upstream.submit(), unit="s").result()  # type: ignore[call-overload]

    main()
    names = {e.run_name for e in eventflow_events if isinstance(e, StateTransition)}
    assert {"load-3-m", "load-1-s"} <= names


def test_states_among_the_arguments_stand_for_their_results(eventflow_isolated: object) -> None:
    """Completed states are replaced at any depth; a failed state makes the run NotReady."""

    @task
    def work(given: Any) -> Any:
        return given

    assert work({"a": [Completed(data=5)]}) == {"a": [5]}
    assert work([Failed()], return_state=True).name == "NotReady"


def test_a_run_publishes_on_the_bus_that_is_in_force_when_it_begins(
    eventflow_events: list[Event],
) -> None:
    """The isolated bus gets its events, and so do subscriptions through `bus`."""

    @task
    def work() -> None: ...

    with bus.subscribe(lambda _: None) as subscription:
        work()

    assert subscription.delivered == len(eventflow_events) == 3


@pytest.mark.parametrize("given", [(1, 2, 3), ()])
def test_arguments_that_do_not_fit_fail_the_run(
    given: tuple[int, ...], eventflow_events: list[Event]
) -> None:
    """It was Pending, and its body is not called."""

    @task
    def work(first: int, second: int) -> None:
        raise AssertionError

    state = work(*given, return_state=True)
    assert state.name == "Failed"
    assert "cannot be called with" in (state.message or "")
    assert [e.to_state.name for e in eventflow_events if isinstance(e, StateTransition)] == [
        "Pending",
        "Failed",
    ]
