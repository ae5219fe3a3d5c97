"""Marks around arguments: quoted and opaque values are passed as they are."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from eventflow import State, allow_failure, flow, opaque, quote, task, unmapped
from eventflow.errors import MappingMissingIterable
from eventflow.runs.futures import Future
from eventflow.states import Completed, Failed

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


class Watched(list[Any]):
    """A list that counts how often it is gone through."""

    visits = 0

    def __iter__(self) -> Any:
        self.visits += 1
        return super().__iter__()


@task
def number() -> int:
    return 1


@task
def keep(value: Any, place: Any) -> None:
    place.append(value)


@task
async def akeep(value: Any, place: Any) -> None:
    place.append(value)


@flow
def keep_in_flow(value: Any, place: Any) -> None:
    place.append(value)


def received(value: Callable[[], Any]) -> list[Any]:
    """Return what bodies receive for an argument, called and submitted, sync and async."""
    place: list[Any] = []
    whole = SimpleNamespace(append=place.append)

    @flow
    def main() -> None:
        keep(value(), whole)
        keep.submit(value(), whole).wait()
        akeep.submit(value(), whole).wait()
        keep.map([value()], unmapped(whole)).wait()
        keep_in_flow(value(), whole)

    @flow
    async def amain() -> None:
        await akeep(value(), whole)
        await akeep.submit(value(), whole)
        await keep.submit(value(), whole)

    main()
    asyncio.run(amain())
    assert len(place) == 8
    return place


@pytest.mark.parametrize("mark", [quote, opaque])
def test_futures_within_are_values(mark: Any) -> None:
    """What is quoted or opaque reaches the body as the very object, with what is in it."""
    data: list[Any] = [Completed(data=1), Failed(), {"holder": SimpleNamespace()}]

    @flow
    def with_future() -> None:
        data.append(number.submit())

    with_future()

    assert all(value is data for value in received(lambda: mark(data)))
    assert isinstance(data[3], Future)


@pytest.mark.parametrize("mark", [quote, opaque])
def test_marked_data_is_not_looked_into(mark: Any) -> None:
    """Large data that is quoted is not gone through, not once."""
    data = Watched([1, 2, 3])

    @task
    def length(value: Any) -> int:
        return len(value)

    assert length(mark(data)) == 3
    assert flow(lambda: length.submit(mark(data)).result())() == 3
    assert data.visits == 0
    assert length(data) == 3
    assert data.visits > 0


def test_futures_and_states_themselves() -> None:
    """A quoted future or state is a value; an opaque one is replaced by its result."""
    state = Completed(data=[Failed()])
    quoted = received(lambda: quote(state))
    replaced = received(lambda: opaque(state))

    assert all(value is state for value in quoted)
    assert all(value is state.data for value in replaced)

    @task
    def kind(value: Any) -> str:
        return type(value).__name__

    @flow
    def main() -> list[str]:
        return [kind(quote(number.submit())), kind(opaque(number.submit()))]

    assert main() == ["Future", "int"]


def test_within_collections() -> None:
    """A mark is taken away wherever the arguments hold it, beside what is replaced."""
    failed = Failed()

    for value in received(lambda: {"as it is": [quote(failed)], "result": Completed(data=2)}):
        assert value == {"as it is": [failed], "result": 2}


def test_an_opaque_upstream_may_fail_if_that_is_allowed() -> None:
    """An opaque future is an upstream like any other: it has to complete, or to be tolerated."""

    @task
    def fail() -> None:
        raise ValueError("lost")

    @flow
    def main() -> list[str]:
        place: list[Any] = []
        lost = keep.submit(opaque(fail.submit()), quote(place))
        lost.wait()
        keep.submit(allow_failure(opaque(fail.submit())), quote(place)).wait()
        keep.submit(opaque(allow_failure(fail.submit())), quote(place)).wait()
        return [lost.state.name, *map(repr, place)]

    assert main() == ["NotReady", "ValueError('lost')", "ValueError('lost')"]


@pytest.mark.parametrize("mark", [quote, opaque])
def test_map_passes_marked_data_whole(mark: Any) -> None:
    """Marked data goes whole to every task run of a map, and is nothing to map over."""

    @task
    def pair(left: Any, right: Any) -> tuple[Any, Any]:
        return left, right

    @flow
    def main() -> list[tuple[Any, Any]]:
        return pair.map([1, 2], mark([3, 4, 5])).result()

    assert main() == [(1, [3, 4, 5]), (2, [3, 4, 5])]
    with pytest.raises(MappingMissingIterable, match=f"left: {mark.__name__}"):
        flow(lambda: pair.map(mark([1]), 2))()


def test_a_returned_state_that_is_a_value() -> None:
    """A body that returns a quoted state completes, and its result is the quote, in every form."""
    failed = Failed(message="only a value")

    @flow
    def main() -> Any:
        return quote(failed)

    @task
    async def amain() -> Any:
        return quote(failed)

    @flow
    def passing_on() -> list[Any]:
        place: list[Any] = []
        keep.submit(amain.submit(), quote(place)).wait()
        keep(main(), quote(place))
        return [value is failed for value in place]

    state: State[Any] = main(return_state=True)
    assert state.is_completed()
    assert state.result().unquote() is failed
    assert main().unwrap() is failed
    assert asyncio.run(amain()).unquote() is failed
    assert passing_on() == [True, True]


@pytest.mark.parametrize("mark", [quote, opaque, unmapped, allow_failure])
def test_marks_are_values(mark: Any) -> None:
    """Marks compare by kind and value, say what they mark, and can be pickled."""
    assert mark([1]) == mark([1]) != mark([2])
    assert repr(mark([1])) == f"{mark.__name__}(value=[1])"
    assert mark([1]).value == mark([1]).unwrap() == [1]
    assert pickle.loads(pickle.dumps(mark([1]))) == mark([1])
    assert [kind for kind in (quote, opaque, unmapped) if kind(1) == mark(1)] in ([], [mark])
    with pytest.raises(AttributeError):
        mark(1).value = 2
