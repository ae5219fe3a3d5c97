"""Iterators among the arguments: each attempt sees all of their items."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import pytest

from eventflow import flow, task
from eventflow.engine.kept_items import Replay
from eventflow.errors import IteratorEndedError

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


def numbers(made: list[int]) -> Iterator[int]:
    for number in range(4):
        made.append(number)
        yield number


GIVEN: dict[str, Any] = {
    "generator": lambda: (number for number in range(4)),
    "map": lambda: map(int, "0123"),
    "list iterator": lambda: iter([0, 1, 2, 3]),
    "list": lambda: [0, 1, 2, 3],
}


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("decorator", [flow, task])
@pytest.mark.parametrize("annotation", [Any, Iterable[int]])
def test_each_attempt_sees_every_item(name: str, decorator: Any, annotation: Any) -> None:
    """Also those that a failed attempt has seen, given by position, by name, and by `*args`."""
    attempts: list[Any] = []

    def body(first: Any, *rest: Any, second: Any) -> int:
        attempts.append([next(iter(first)), list(second), *map(list, rest)])
        if len(attempts) < 3:
            raise ConnectionError("again")
        return len(attempts)

    body.__annotations__ = dict.fromkeys(("first", "rest", "second"), annotation)
    make = GIVEN[name]

    assert decorator(retries=2)(body)(make(), make(), second=make()) == 3
    assert attempts == [[0, [0, 1, 2, 3], [0, 1, 2, 3]]] * 3


def test_async_generators_are_kept_as_well() -> None:
    """A retry of an async run goes through the items again, and then on."""
    attempts: list[list[int]] = []
    made: list[int] = []

    async def give() -> AsyncIterator[int]:
        for number in numbers(made):
            yield number

    @flow(retries=1)
    async def load(items: AsyncIterator[int]) -> list[int]:
        seen: list[int] = []
        attempts.append(seen)
        async for item in items:
            seen.append(item)
            if len(attempts) == 1 and item == 1:
                raise ConnectionError("again")
        return seen

    assert asyncio.run(load(give())) == [0, 1, 2, 3]
    assert attempts == [[0, 1], [0, 1, 2, 3]]
    assert made == [0, 1, 2, 3]


def test_without_retries_the_iterator_itself_is_given() -> None:
    """Nothing is kept; nor is an object kept that is more than an iterator."""

    class Reader:
        def __iter__(self) -> Reader:
            return self

        def __next__(self) -> int:
            raise StopIteration

    given, reader = numbers([]), Reader()

    assert task(lambda it: it is given)(given)
    assert task(retries=1)(lambda it: it is reader)(reader)


def test_what_a_generator_raises_is_raised_again() -> None:
    """A retry does not take its items so far for all of them."""

    def failing() -> Iterator[int]:
        yield 1
        raise ConnectionError("gone")

    seen: list[int] = []

    @task(retries=1)
    def load(items: Iterable[int]) -> None:
        seen.extend(items)
        seen.append(-1)

    with pytest.raises(ConnectionError, match="gone"):
        load(failing())
    with pytest.raises(ConnectionError, match="gone"):
        list(Replay(failing()))


def test_a_generator_that_a_timeout_stopped_is_an_error() -> None:
    """What it would have given is not known: the next attempt does not end with less."""

    def hanging() -> Iterator[int]:
        yield 1
        while True:
            time.sleep(0.001)

    @task(retries=1, timeout_seconds=0.05)
    def load(items: Iterable[int]) -> list[int]:
        return list(items)

    with pytest.raises(IteratorEndedError, match=r"after 1 item\(s\)"):
        load(hanging())
