"""Parameters annotated as iterables: what can be iterated over again stays so."""

from __future__ import annotations

import collections.abc
from collections.abc import Generator, Iterable, Iterator
from typing import Annotated, Any, Optional

import pytest
from pydantic import Field

from eventflow import flow
from eventflow.errors import ParameterTypeError

pytestmark = pytest.mark.usefixtures("eventflow_isolated")

ANNOTATIONS: list[Any] = [
    Iterable[int],
    collections.abc.Iterable,
    Generator[int, None, None],
    Iterable[int] | None,
    Optional[Iterable[int]],  # noqa: UP045 - the old way to write it
    int | Iterable[int],
    Annotated[Iterable[int], Field(min_length=2)],
    Annotated[Iterable[int] | None, "a note"],
]


def twice_over(annotation: Any) -> Any:
    def body(numbers: Any) -> tuple[list[int], list[int]]:
        return list(numbers), list(numbers)

    body.__annotations__["numbers"] = annotation
    return flow(body)


@pytest.mark.parametrize("annotation", ANNOTATIONS)
@pytest.mark.parametrize("given", [[1, 2], (1, 2), range(1, 3), {1: "a", 2: "b"}, {1, 2}])
def test_a_collection_can_be_gone_through_twice(annotation: Any, given: Any) -> None:
    """However the annotation holds the iterable."""
    assert twice_over(annotation)(given) == ([1, 2], [1, 2])


@pytest.mark.parametrize("given", [["1", "2"], range(1, 3), ("1", 2)])
def test_items_are_converted_each_time(given: Any) -> None:
    """As by pydantic; those of a list or a tuple before the body begins."""
    assert twice_over(Iterable[int])(given) == ([1, 2], [1, 2])


def test_a_wrong_item_of_a_list_fails_the_run_at_once() -> None:
    """The error names the parameter and the item; one that is no iterable is named as well."""
    load = twice_over(Iterable[int])

    with pytest.raises(ParameterTypeError, match=r"numbers: 1: .*got 'x'"):
        load([1, "x"])
    with pytest.raises(ParameterTypeError, match="numbers"):
        load(3)
    with pytest.raises(ParameterTypeError, match="numbers"):
        twice_over(Annotated[Iterable[int], Field(min_length=2)])([1])


def test_args_and_nested_iterables() -> None:
    """Each of `*args` and of `**kwargs` is one, and so is what a collection holds."""

    @flow
    def add(rows: list[Iterable[int]], *more: Iterable[int], **named: Iterable[int]) -> list[int]:
        every = [*rows, *more, *named.values()]
        return [sum(numbers) + sum(numbers) for numbers in every]

    assert add([[1], [2]], [3], range(4), named=(5,)) == [2, 4, 6, 12, 10]


def test_the_parameters_of_a_run_can_be_read() -> None:
    """Hooks see the items, though the body has gone through them."""
    seen: list[Any] = []

    @flow(on_completion=[lambda flow, run, state: seen.append(dict(run.parameters))])
    def load(tables: Iterable[str]) -> int:
        return len(list(tables))

    assert load(("a", "b")) == 2
    assert seen == [{"tables": ["a", "b"]}]


def test_an_iterator_is_gone_through_once_and_lazily() -> None:
    """It stays an iterator: no item is taken before it is asked for."""
    taken: list[int] = []

    def give() -> Iterator[int]:
        for number in range(3):
            taken.append(number)
            yield number

    @flow
    def first(numbers: Iterable[int]) -> int:
        return next(iter(numbers))

    assert first(give()) == 0
    assert taken == [0]
