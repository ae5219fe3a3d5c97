"""Say of an annotation whether values of it can be recorded, without having one."""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import types
import typing
from collections.abc import Collection, Iterable
from enum import Enum
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel

from eventflow.settings import EVENTFLOW_MASK_SECRETS
from eventflow.values.leaves import Unrecordable, leaves, type_name
from eventflow.values.masking import holds_secrets, is_secret_name

__all__ = ["parameter_problem"]

_PLAIN: Final = {str, int, float, bool, types.NoneType, object, Any}
_CONTAINERS: Final = {list, tuple, dict, set, frozenset}
_NEVER: Final[tuple[Any, ...]] = (
    *(collections.abc.Iterator, collections.abc.AsyncIterator, collections.abc.Awaitable),
    *(collections.abc.Callable, collections.abc.AsyncIterable),
)


def parameter_problem(name: str, annotation: Any) -> str | None:
    """Return why a parameter will not come back in another process; None if it may."""
    if holds_secrets(annotation):
        return "it asks for a secret, and no secret is recorded"
    if EVENTFLOW_MASK_SECRETS.value() and is_secret_name(name) and annotation is not bool:
        return "it is called like a secret, and is masked"

    return _problem(annotation, ())


def _problem(annotation: Any, seen: Collection[Any]) -> str | None:
    if any(annotation is known for known in seen):
        return None
    seen = [*seen, annotation]
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return None
    if origin is Annotated:
        return _problem(typing.get_args(annotation)[0], seen)
    kind = origin or annotation
    if isinstance(kind, type):
        problem = _class_problem(kind, seen)
        if problem is not None:
            return problem

    return _first(typing.get_args(annotation), seen)


def _first(annotations: Iterable[Any], seen: Collection[Any]) -> str | None:
    problems = (_problem(annotation, seen) for annotation in annotations)

    return next((problem for problem in problems if problem is not None), None)


def _class_problem(kind: type, seen: Collection[Any]) -> str | None:
    if issubclass(kind, _NEVER):
        return f"a {kind.__qualname__} cannot be recorded"
    if kind in _PLAIN or kind in _CONTAINERS or kind in leaves() or _may_be_another(kind):
        return None
    composed = issubclass(kind, Enum | BaseModel) or dataclasses.is_dataclass(kind)
    if not composed and not hasattr(kind, "_fields"):
        return f"a {kind.__module__}.{kind.__qualname__} cannot be recorded"
    try:
        type_name(kind)
    except Unrecordable as problem:
        return str(problem)

    return _fields_problem(kind, seen)


def _may_be_another(kind: type) -> bool:
    """Return whether values are of other types than this, or of types that are all recorded."""
    is_known = kind.__module__ in {"datetime", "collections", "zoneinfo", "pydantic.networks"}
    is_union = kind is types.UnionType or getattr(kind, "_is_protocol", False)

    return is_known or is_union or inspect.isabstract(kind) or _is_path_or_dict(kind)


def _is_path_or_dict(kind: Any) -> bool:
    # A TypedDict is a dict; `Path` makes a path of this system.
    return hasattr(kind, "__total__") or any(issubclass(leaf, kind) for leaf in leaves())


def _fields_problem(kind: Any, seen: Collection[Any]) -> str | None:
    if issubclass(kind, Enum):
        return None
    if issubclass(kind, BaseModel):
        fields = {name: field.annotation for name, field in kind.model_fields.items()}
    else:
        try:
            fields = typing.get_type_hints(kind)
        except Exception:  # noqa: BLE001 - an annotation may be any expression
            return None
    for name, annotation in fields.items():
        if is_secret_name(name) and annotation is not bool and EVENTFLOW_MASK_SECRETS.value():
            return f"its {name} is called like a secret, and is masked"
        problem = _problem(annotation, seen)
        if problem is not None:
            return f"its {name}: {problem}"

    return None
