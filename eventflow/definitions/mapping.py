"""The arguments of each task run of a `map`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from io import IOBase
from typing import Any, Final

from eventflow.definitions.parameters import Parameters
from eventflow.errors import MappingLengthMismatch, MappingMissingIterable
from eventflow.runs.futures import Future
from eventflow.runs.marks import allow_failure, opaque, quote, unmapped
from eventflow.states.state import State

__all__ = ["rows"]

_WHOLE: Final = (str, bytes, bytearray, Mapping, IOBase, unmapped, quote, opaque)


def rows(
    name: str, parameters: Parameters, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Return the arguments of each task run; futures that may have to be mapped over are awaited.

    Raises:
        MappingMissingIterable: no argument can be iterated over.
        MappingLengthMismatch: the iterables are not equally long.
        DeadlockError: a future needs this thread's event loop.
        Exception: an argument is a future or a state that failed, and may not.
    """
    given = [*zip(_names(parameters, len(args)), args, strict=True), *kwargs.items()]
    columns = [_column(value) for _, value in given]
    lengths = {
        key: len(column)
        for (key, _), column in zip(given, columns, strict=True)
        if column is not None
    }
    if not lengths:
        kinds = {key: type(value).__name__ for key, value in given}
        raise MappingMissingIterable(name, kinds)
    if len(set(lengths.values())) > 1:
        raise MappingLengthMismatch(name, lengths)

    return _rows(given, columns, len(args), next(iter(lengths.values())))


def _names(parameters: Parameters, count: int) -> list[str]:
    """Name positional arguments by their parameters, and surplus ones by their place."""
    known = parameters.positional[:count]

    return [*known, *(f"argument {place}" for place in range(len(known) + 1, count + 1))]


def _column(value: Any, *, raise_on_failure: bool = True) -> list[Any] | None:
    """Return the items to map over; None if every run gets the whole value."""
    if isinstance(value, allow_failure):
        inner = _column(value.value, raise_on_failure=False)
        return None if inner is None else [allow_failure(item) for item in inner]
    if isinstance(value, Future | State):
        value = value.result(raise_on_failure=raise_on_failure)
    if isinstance(value, _WHOLE) or not isinstance(value, Iterable):
        return None

    return list(value)


def _rows(
    given: list[tuple[str, Any]],
    columns: list[list[Any] | None],
    positional: int,
    length: int,
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    for place in range(length):
        row = [
            (key, _whole(value) if column is None else column[place])
            for (key, value), column in zip(given, columns, strict=True)
        ]
        yield tuple(value for _, value in row[:positional]), dict(row[positional:])


def _whole(value: Any) -> Any:
    return value.value if isinstance(value, unmapped) else value
