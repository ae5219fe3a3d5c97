"""What returned states, futures and collections of them stand for."""

from __future__ import annotations

import asyncio
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pytest

from eventflow import flow, task
from eventflow.errors import CancelledRun, FailedRun
from eventflow.states import AnyState, Cancelled, Completed, Failed

pytestmark = pytest.mark.usefixtures("eventflow_isolated")

Pair = namedtuple("Pair", "left right")  # noqa: PYI024 - the plain kind is meant


@task
def number() -> int:
    return 1


@task
def fail() -> int:
    raise ValueError("first")


@task
async def aone() -> int:
    return 1


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (lambda future, state: future, 1),
        (lambda future, state: [future, state], [1, 2]),
        (lambda future, state: (future, [state, {future}]), (1, [2, {1}])),
        (lambda future, state: {"a": future, "b": (state,)}, {"a": 1, "b": (2,)}),
        (Pair, Pair(1, 2)),
        (lambda future, state: frozenset([future]), frozenset([1])),
        (lambda future, state: [], []),
    ],
)
def test_results_take_their_places(shape: Any, expected: Any) -> None:
    """The result of a flow that returns futures and states holds their results in their places."""

    @flow
    def main() -> Any:
        return shape(number.submit(), Completed(data=2))

    @flow
    async def amain() -> Any:
        return shape(aone.submit(), Completed(data=2))

    assert main() == expected
    assert asyncio.run(amain()) == expected
    assert type(main()) is type(expected)


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


def test_summing_up() -> None:
    """All completed: Completed; any cancelled: Cancelled; else Failed, with the first failure."""
    good, bad = Completed(data=1), Failed(message="bad")

    assert ended(lambda: [good, good]).is_completed()
    state = ended(lambda: [good, bad, Cancelled()])
    assert (state.name, state.message) == ("Cancelled", "2 of 3 states did not complete.")
    state = ended(lambda: [good, bad])
    assert (state.name, state.message) == ("Failed", "1 of 2 states did not complete.")
    with pytest.raises(FailedRun, match="bad"):
        flow(lambda: [good, bad])()
    with pytest.raises(CancelledRun):
        flow(lambda: [Cancelled()])()
    with pytest.raises(ValueError, match="first"):
        flow(lambda: [number.submit(), fail.submit()])()


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
