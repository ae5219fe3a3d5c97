"""Spreading the arguments of a `map` over task runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from eventflow.errors import MappingLengthMismatch, MappingMissingIterable
from eventflow.futures import Future, allow_failure, unmapped
from eventflow.parameters import Parameters
from eventflow.states import State

__all__ = ["rows"]

_WHOLE: Final = (str, bytes, bytearray, Mapping, Future, State, unmapped)


def rows(
    name: str, parameters: Parameters, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Give the arguments of each task run.

    Raises:
        MappingMissingIterable: no argument can be iterated over.
        MappingLengthMismatch: the iterables are not equally long.
    """
    called = [*parameters.names, *(f"argument {place}" for place in range(len(args)))]
    given = {**dict(zip(called, args, strict=False)), **kwargs}
    columns = {key: _column(value) for key, value in given.items()}
    lengths = {key: len(column) for key, column in columns.items() if column is not None}
    if not lengths:
        kinds = {key: type(value).__name__ for key, value in given.items()}
        raise MappingMissingIterable(name, kinds)
    if len(set(lengths.values())) > 1:
        raise MappingLengthMismatch(name, lengths)

    return _rows(list(given.items()), columns, len(args), next(iter(lengths.values())))


def _column(value: Any) -> list[Any] | None:
    """Give the items to map over; None where the value goes whole to every run."""
    if isinstance(value, allow_failure):
        inner = _column(value.value)
        return None if inner is None else [allow_failure(one) for one in inner]
    if isinstance(value, _WHOLE) or not isinstance(value, Iterable):
        return None

    return list(value)


def _rows(
    given: list[tuple[str, Any]],
    columns: Mapping[str, list[Any] | None],
    positional: int,
    length: int,
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    for place in range(length):
        row = [
            (key, _whole(value) if (column := columns[key]) is None else column[place])
            for key, value in given
        ]
        yield tuple(value for _, value in row[:positional]), dict(row[positional:])


def _whole(value: Any) -> Any:
    return value.value if isinstance(value, unmapped) else value
