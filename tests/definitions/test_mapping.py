"""Mapping: over what, and errors that name the task and its arguments."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from eventflow import allow_failure, flow, task, unmapped
from eventflow.errors import (
    DeadlockError,
    MappingError,
    MappingLengthMismatch,
    MappingMissingIterable,
)
from eventflow.states import Completed

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


@task
def pair(left: Any, right: Any = 0) -> tuple[Any, Any]:
    return left, right


@task
async def apair(left: Any, right: Any = 0) -> tuple[Any, Any]:
    return left, right


def mapped(*args: Any, **kwargs: Any) -> None:
    flow(lambda: pair.map(*args, **kwargs))()


def test_unequal_lengths() -> None:
    """Iterables of unequal lengths are named with their lengths; no run is made."""
    with pytest.raises(MappingLengthMismatch, match=r"pair\.map\(\) .* left: 2, right: 3") as error:
        mapped([1, 2], [1, 2, 3])
    assert error.value.lengths == {"left": 2, "right": 3}
    with pytest.raises(MappingLengthMismatch, match="argument 3: 2"):
        mapped([1], 2, [1, 2])


def test_nothing_to_map_over() -> None:
    """Without an iterable the error says what was given instead."""
    with pytest.raises(MappingMissingIterable, match="got left: int, right: str"):
        mapped(1, right="x")
    with pytest.raises(MappingMissingIterable, match="got no argument"):
        mapped()
    with pytest.raises(MappingError, match="left: unmapped"):
        mapped(unmapped([1]))


def test_arguments_that_do_not_fit() -> None:
    """Arguments that the task does not take fail each run, not the map."""

    @flow
    def main() -> list[bool]:
        return [future.wait() and future.state.is_failed() for future in pair.map([1, 2], other=3)]

    assert main() == [True, True]


def test_an_argument_that_is_given_twice() -> None:
    """An argument given by place and by name is an error of each run, not silently dropped."""

    @flow
    def main() -> str:
        (future,) = pair.map([1], left=[2])
        return str(future.result(raise_on_failure=False))

    assert "multiple values for argument 'left'" in main()


# -- futures and states ----------------------------------------------------------------------------


@task
def numbers(count: int = 3) -> list[int]:
    return list(range(count))


@task
async def anumbers() -> list[int]:
    return [0, 1, 2]


@task
def fail() -> list[int]:
    raise ValueError("no numbers")


@pytest.mark.parametrize("adding", [pair, apair])
@pytest.mark.parametrize(
    "upstream",
    [
        numbers.submit,
        anumbers.submit,
        lambda: numbers(return_state=True),
        lambda: numbers.submit(return_state=True),
        lambda: allow_failure(numbers.submit()),
        lambda: flow(numbers.fn)(return_state=True),
        lambda: Completed(data=(0, 1, 2)),
    ],
)
def test_the_result_of_a_future_or_a_state_is_mapped_over(adding: Any, upstream: Any) -> None:
    """A future or a state is waited for, and each task run gets an item of its result."""

    @flow
    def main() -> list[Any]:
        first = adding.map(upstream()).result()
        both = adding.map(upstream(), right=upstream(), return_state=True)
        return [*first, *(state.result() for state in both)]

    assert main() == [(0, 0), (1, 0), (2, 0), (0, 0), (1, 1), (2, 2)]


def test_on_the_event_loop_of_a_flow() -> None:
    """There, what a worker or another loop produces is mapped over; its own is awaited first."""

    @flow
    async def main() -> list[Any]:
        own = anumbers.submit()
        with pytest.raises(DeadlockError, match="before `map` goes over"):
            apair.map(own)
        await own
        return [*await apair.map(own), *await pair.map(numbers.submit(1))]

    assert asyncio.run(main()) == [(0, 0), (1, 0), (2, 0), (0, 0)]


def test_a_result_that_is_one_item() -> None:
    """A future or a state whose result cannot be iterated over goes to all task runs."""

    @task
    def word() -> str:
        return "abc"

    @flow
    def main() -> list[Any]:
        upstream = word.submit()
        return [
            *pair.map([1, 2], upstream).result(),
            *pair.map([3], word(return_state=True)).result(),
            *pair.map([4], unmapped(numbers.submit())).result(),
        ]

    assert main() == [(1, "abc"), (2, "abc"), (3, "abc"), (4, [0, 1, 2])]
    with pytest.raises(MappingMissingIterable, match="left: Future"):
        flow(lambda: pair.map(word.submit()))()


def test_an_upstream_that_failed() -> None:
    """What failed cannot be mapped over: its exception is raised, unless it is allowed to fail."""

    @flow
    def main() -> list[Any]:
        for upstream in (fail.submit(), fail(return_state=True)):
            with pytest.raises(ValueError, match="no numbers"):
                pair.map(upstream)
            with pytest.raises(ValueError, match="no numbers"):
                pair.map([1, 2], upstream)
        lost = allow_failure(fail.submit())
        return [str(error) for _, error in pair.map([1, 2], lost).result()]

    assert main() == ["no numbers", "no numbers"]


def test_an_open_file_is_one_item(tmp_path: Path) -> None:
    """A file is not mapped over line by line."""
    path = tmp_path / "lines"
    path.write_text("a\nb\n")

    @flow
    def main(file: Any) -> list[bool]:
        return [right is file for _, right in pair.map([1], file).result()]

    with path.open() as file:
        assert main(file) == [True]
