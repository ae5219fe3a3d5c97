"""Mapping: errors that name the task and its arguments."""

from __future__ import annotations

from typing import Any

import pytest

from eventflow import flow, task, unmapped
from eventflow.errors import MappingError, MappingLengthMismatch, MappingMissingIterable

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


@task
def pair(left: Any, right: Any = 0) -> tuple[Any, Any]:
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
