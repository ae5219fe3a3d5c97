"""Parameters annotated as iterables: what can be iterated over again stays so when validated."""

from __future__ import annotations

import collections.abc
import functools
import operator
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Final

import pydantic

__all__ = ["Validated", "repeatable"]

_ONE_SHOT: Final = {collections.abc.Iterable, collections.abc.Generator}
"""What pydantic turns into an iterator of its own, which ends for ever at the last item."""

_NESTING: Final = {list, dict, tuple, set, frozenset}


def repeatable(annotation: Any) -> Any:
    """Return an annotation that validates what is iterable to something that is so repeatedly."""
    origin = typing.get_origin(annotation)
    if (origin or annotation) in _ONE_SHOT:
        return Annotated[annotation, pydantic.WrapValidator(_validated)]
    inner = typing.get_args(annotation)
    if origin is Annotated:
        # After what else is annotated: a constraint is for the iterable itself.
        if (typing.get_origin(inner[0]) or inner[0]) in _ONE_SHOT:
            return Annotated[(*inner, pydantic.WrapValidator(_validated))]
        return Annotated[(repeatable(inner[0]), *inner[1:])]
    if origin in {typing.Union, types.UnionType}:
        return functools.reduce(operator.or_, map(repeatable, inner))
    if origin in _NESTING:
        return types.GenericAlias(origin, tuple(map(repeatable, inner)))

    return annotation


def _validated(given: Any, validate: Callable[[Any], Any]) -> Any:
    """Validate at once what is a plain collection, else each item when it is asked for."""
    if isinstance(given, list | tuple | set | frozenset):
        return list(validate(given))
    iterator = validate(given)

    return iterator if isinstance(given, Iterator) else Validated(given, validate)


class Validated(Iterable[Any]):
    """An iterable whose items are validated while it is iterated over, each time."""

    __slots__ = ("_given", "_validate")

    def __init__(self, given: Any, validate: Callable[[Any], Any]) -> None:
        self._given = given
        self._validate = validate

    def __iter__(self) -> Iterator[Any]:
        return iter(self._validate(self._given))

    def __repr__(self) -> str:
        return repr(self._given)
