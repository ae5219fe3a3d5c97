"""What returned states, futures and collections of them stand for."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, namedtuple
from collections.abc import Callable, Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventflow import flow, task
from eventflow.errors import CancelledRun, FailedRun, PausedRun
from eventflow.runs.futures import FutureList
from eventflow.states import (
    AnyState,
    Cancelled,
    Completed,
    Crashed,
    Failed,
    NotReady,
    Paused,
    State,
)

pytestmark = pytest.mark.usefixtures("eventflow_isolated")

Pair = namedtuple("Pair", "left right")  # noqa: PYI024 - the plain kind is meant


@task
def named(name: str) -> str:
    return name


@task
async def anamed(name: str) -> str:
    return name


@task
def number() -> int:
    return 1


@task
def fail() -> int:
    raise ValueError("first")


def returned_by(items: Callable[[], Generator[Any, Any, Any]]) -> Any:
    """Return what a generator returns."""
    generator = items()
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


def results_in(value: Any) -> Any:
    """Replace each state in nested data by its result."""
    if isinstance(value, State):
        return value.result()
    if isinstance(value, dict):
        return {key: results_in(inner) for key, inner in value.items()}
    if isinstance(value, Pair):
        return Pair(*map(results_in, value))
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(map(results_in, value))

    return value


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (lambda future, state: future, "one"),
        (lambda future, state: [future, state], ["one", "two"]),
        (lambda future, state: FutureList([future]), ["one"]),
        (lambda future, state: (future, state), ("one", "two")),
        (lambda future, state: {future}, {"one"}),
        (lambda future, state: frozenset([future]), frozenset(["one"])),
        (Pair, Pair("one", "two")),
        (lambda future, state: [future, [state, 3]], ["one", ["two", 3]]),
        (lambda future, state: {"a": future, "b": (state,)}, {"a": "one", "b": ("two",)}),
        (lambda future, state: [], []),
    ],
)
def test_states_take_the_places_of_futures(shape: Any, expected: Any) -> None:
    """What a flow returns holds, in a collection of its type, the final states of the futures."""

    @flow
    def main() -> Any:
        return shape(named.submit("one"), named("two", return_state=True))

    @flow
    async def amain() -> Any:
        return shape(anamed.submit("one"), await anamed("two", return_state=True))

    @flow
    def items() -> Any:
        yield 1
        return shape(named.submit("one"), named("two", return_state=True))

    for result in (main(), asyncio.run(amain()), returned_by(items)):
        assert results_in(result) == expected
        assert type(results_in(result)) is type(expected)


def test_other_values_complete() -> None:
    """A collection that holds anything else is a plain result, however deep or cyclic."""
    cyclic: list[Any] = [1]
    cyclic.append(cyclic)
    state = Failed()

    assert flow(lambda: cyclic)() is cyclic
    assert flow(lambda: [1, state])() == [1, state]
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    assert flow(lambda: deep)() is deep
    assert task(len)(cyclic) == 2


def ended(body: Callable[[], Any]) -> AnyState:
    state: AnyState = flow(body)(return_state=True)
    return state


def test_states_decide_together() -> None:
    """Any cancelled: Cancelled; any paused: Paused; all completed: Completed; else Failed."""
    good, bad = Completed(data=1), Failed(message="bad")
    waiting = task(Paused)

    state = ended(lambda: [good, good])
    assert (state.name, state.message) == ("Completed", "All states completed.")
    assert state.result() == [good, good]
    state = ended(lambda: (good, bad, Cancelled(), waiting(return_state=True)))
    assert (state.name, state.message) == ("Cancelled", "1/4 states cancelled.")
    assert [inner.name for inner in state.data] == ["Completed", "Failed", "Cancelled", "Paused"]
    state = ended(lambda: [good, waiting.submit(), bad])
    assert (state.name, state.message) == ("Paused", "1/3 states paused.")
    assert state.data[1].state_details.task_run_id is not None
    state = ended(lambda: [good, bad, fail.submit(), number.submit(), good])
    assert (state.name, state.message) == ("Failed", "2/5 states failed.")
    assert [inner.name for inner in state.result(raise_on_failure=False)] == [
        *("Completed", "Failed", "Failed", "Completed", "Completed")
    ]
    with pytest.raises(FailedRun, match="bad"):
        flow(lambda: [good, bad])()
    with pytest.raises(CancelledRun):
        flow(lambda: [Cancelled()])()
    with pytest.raises(ValueError, match="first"):
        flow(lambda: [number.submit(), fail.submit()])()
    with pytest.raises(PausedRun, match=r"1/1 states paused\."):
        flow(lambda: [waiting.submit()])()


def test_the_states_of_other_runs_are_data_of_every_kind_of_run() -> None:
    """A task, an async task and a generator that return them end as a flow does."""

    @task
    def single() -> Any:
        return fail(return_state=True)

    @task
    async def several() -> Any:
        return [number(return_state=True), fail(return_state=True)]

    @task
    def last() -> Any:
        yield 1
        return [fail(return_state=True)]

    @task
    def submitted() -> Any:
        return [number.submit(), fail.submit()]

    @flow
    def main() -> None:
        states = [
            *(single(return_state=True), asyncio.run(several(return_state=True))),
            *(returned_by(lambda: last(return_state=True)), submitted(return_state=True)),
        ]
        assert [state.message for state in states] == [
            *("1/1 states failed.", "1/2 states failed."),
            *("1/1 states failed.", "1/2 states failed."),
        ]
        for state in states:
            assert state.error is not None
            with pytest.raises(ValueError, match="first"):
                state.result()
        assert isinstance(states[0].data, State)

    main()


def test_a_returned_future_is_waited_for() -> None:
    """A run whose body returns the future of a task that goes on ends after that task."""
    release, returned = threading.Event(), threading.Event()

    @task
    def slow() -> int:
        release.wait(60)
        return 1

    @flow
    def main() -> Any:
        future = slow.submit()

        def child() -> Any:
            returned.set()
            return future

        def releasing() -> None:
            returned.wait(60)
            release.set()

        thread = threading.Thread(target=releasing)
        thread.start()
        state = flow(child)(return_state=True)
        thread.join()
        return state

    assert main().result().result() == 1


def test_a_failed_task_fails_its_flow_only_at_its_end() -> None:
    """A task's failure counts if its exception or its state reaches the flow's end."""

    @flow
    def ignoring() -> str:
        fail(return_state=True)
        fail.submit().wait()
        return "fine"

    assert ignoring() == "fine"
    assert ended(lambda: fail(return_state=True)).is_failed()
    assert ended(fail).is_failed()


def test_a_state_may_be_returned_again_and_again() -> None:
    """Each run that is given a state enters it as its own."""
    state = Completed(data=5)
    states = [ended(lambda: state) for _ in range(3)]

    assert len({entered.id for entered in (*states, state)}) == 4
    assert all(entered.timestamp >= state.timestamp for entered in states)


def test_arguments_keep_their_identity() -> None:
    """What holds no future comes to the body as it was given, also beside futures."""
    given: dict[str, Any] = {"a": [1]}

    @flow
    def main() -> bool:
        same: bool = task(lambda left, right: left is given)(given, number.submit())
        return same

    assert main()


def test_futures_in_wound_collections() -> None:
    """A collection within itself does not stop a future in it from being replaced."""

    @flow
    def main() -> Any:
        cyclic: list[Any] = [number.submit()]
        cyclic.append(cyclic)
        return task(lambda given: given[0])(cyclic)

    assert main() == 1


MEMBERS: dict[str, Callable[[], AnyState]] = {"Completed": Completed, "Failed": Failed}
MEMBERS |= {"Crashed": Crashed, "Cancelled": Cancelled, "Paused": Paused, "NotReady": NotReady}


def decided(names: list[str]) -> tuple[str, str]:
    """Return the name and the message that states of these names lead to."""
    count, of = Counter(names), f"/{len(names)} states"
    failed = count["Failed"] + count["Crashed"]
    if count["Cancelled"]:
        return "Cancelled", f"{count['Cancelled']}{of} cancelled."
    if count["Paused"]:
        return "Paused", f"{count['Paused']}{of} paused."
    if count["Completed"] == len(names):
        return "Completed", "All states completed."

    return (
        "Failed",
        f"{failed}{of} failed." if failed else f"{count['NotReady']}{of} are not final.",
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(st.sampled_from(sorted(MEMBERS)), min_size=1, max_size=6),
    shape=st.sampled_from([list, tuple, set, frozenset]),
    is_async=st.booleans(),
)
def test_any_states_decide_as_the_rule_says(
    names: list[str], shape: Any, *, is_async: bool
) -> None:
    """Whatever the states are and whatever holds them, sync and async."""
    members = [MEMBERS[name]() for name in names]

    async def acoroutine() -> Any:
        return shape(members)

    if is_async:
        state = asyncio.run(flow(acoroutine)(return_state=True))
    else:
        state = ended(lambda: shape(members))
    assert (state.name, state.message) == decided(names)
    assert set(state.data) == set(members)
    assert type(state.data) is shape
