"""Containers: data that may hold other data, how to look into it, and how to copy it."""

from __future__ import annotations

import copy
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Callable
from functools import lru_cache
from types import FunctionType, MappingProxyType, MemberDescriptorType, ModuleType, SimpleNamespace
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from eventflow.events import Event
from eventflow.runs.futures import Future, FutureList
from eventflow.runs.marks import Mark
from eventflow.states.state import State

__all__ = ["DEPENDENCY", "OBJECT", "Container", "kind_of"]


class Container(NamedTuple):
    """What holds other data.

    `contents` lists what one holds. `copied` makes a shallow copy whose contents `refilled`
    exchanges for others, in the same order. What cannot be changed has no `copied`: `refilled`
    makes another one of it. `is_collection` tells collections from objects with attributes.
    """

    contents: Callable[[Any], list[Any]]
    copied: Callable[[Any], Any] | None
    refilled: Callable[[Any, list[Any]], Any]
    is_collection: bool = True


DEPENDENCY: Final = "dependency"
"""A future, a state, or a marked value."""

OBJECT: Final = "object"
"""An object with attributes, into which nobody looks."""

Kind: TypeAlias = Container | Literal["dependency", "object"] | None


def _kind_of(kind: type) -> Kind:
    """Return what an instance of the type is; None if it holds no data that could be a future."""
    if issubclass(kind, Future | State | Mark):
        return DEPENDENCY
    for base, container in _COLLECTIONS.items():
        if issubclass(kind, base):
            return container
    # What eventflow hands out are facts: nothing in them is exchanged.
    if issubclass(kind, Event | _NO_DATA) or kind.__module__.startswith("eventflow."):
        return None
    if issubclass(kind, BaseModel):
        return _MODEL
    if issubclass(kind, _WITH_ATTRIBUTES) or any(hasattr(kind, name) for name in _OF_FIELDS):
        return _ATTRIBUTES

    return OBJECT if kind.__dictoffset__ else None


kind_of: Final[Callable[[type], Kind]] = lru_cache(maxsize=1024)(_kind_of)
"""Returns what an instance of a type is; asked of every value, and so remembered."""


_NO_DATA: Final = type | ModuleType | FunctionType
_WITH_ATTRIBUTES: Final = (SimpleNamespace, UserDict, UserList, ChainMap)
_OF_FIELDS: Final = ("__dataclass_fields__", "__attrs_attrs__")
"""By what the classes of `dataclasses` and of attrs are known."""


def _refilled_list(copied: Any, inner: list[Any]) -> Any:
    copied[:] = inner

    return copied


def _dict_contents(value: Any) -> list[Any]:
    return [*value.keys(), *value.values()]


def _refilled_dict(copied: Any, inner: list[Any]) -> Any:
    half = len(inner) // 2
    copied.clear()
    for key, value in zip(inner[:half], inner[half:], strict=True):
        copied[key] = value

    return copied


def _refilled_proxy(value: Any, inner: list[Any]) -> Any:
    # Its `copy` is that of the mapping behind it, whose type it keeps.
    return MappingProxyType(_refilled_dict(value.copy(), inner))


def _refilled_set(copied: Any, inner: list[Any]) -> Any:
    copied.clear()
    copied.update(inner)

    return copied


def _refilled_deque(copied: Any, inner: list[Any]) -> Any:
    copied.clear()
    copied.extend(inner)

    return copied


def _refilled_tuple(value: Any, inner: list[Any]) -> Any:
    made = tuple.__new__(type(value), inner)
    if hasattr(value, "__dict__"):
        vars(made).update(vars(value))

    return made


def _attributes(value: Any) -> list[Any]:
    slots = [slot.__get__(value) for slot in _slots(value)]

    return [*getattr(value, "__dict__", {}).values(), *slots]


def _slots(value: Any) -> list[MemberDescriptorType]:
    """Return the slots of an object that are set."""
    return [
        slot
        for base in type(value).__mro__
        if "__slots__" in vars(base)
        for slot in vars(base).values()
        if isinstance(slot, MemberDescriptorType) and hasattr(value, slot.__name__)
    ]


def _copied_attributes(value: Any) -> Any:
    """Copy an object as it is: neither `__init__` nor `__post_init__` is called."""
    kind: Any = type(value)
    made = kind.__new__(kind)
    if hasattr(value, "__dict__"):
        vars(made).update(vars(value))
    for slot in _slots(value):
        slot.__set__(made, slot.__get__(value))

    return made


def _refilled_attributes(copied: Any, inner: list[Any]) -> Any:
    # Past `__setattr__`, which frozen classes refuse.
    remaining = iter(inner)
    for name in getattr(copied, "__dict__", ()):
        vars(copied)[name] = next(remaining)
    for slot, value in zip(_slots(copied), remaining, strict=True):
        slot.__set__(copied, value)

    return copied


def _model_parts(value: BaseModel) -> list[dict[str, Any]]:
    return [vars(value), value.__pydantic_extra__ or {}, value.__pydantic_private__ or {}]


def _model_contents(value: BaseModel) -> list[Any]:
    # A private attribute without a value is not copied.
    return [
        inner
        for part in _model_parts(value)
        for inner in part.values()
        if inner is not PydanticUndefined
    ]


def _refilled_model(copied: BaseModel, inner: list[Any]) -> Any:
    remaining = iter(inner)
    for part in _model_parts(copied):
        for name in part:
            part[name] = next(remaining)

    return copied


_COLLECTIONS: Final[dict[type, Container]] = {
    FutureList: Container(list, lambda _: [], _refilled_list),
    list: Container(list, copy.copy, _refilled_list),
    tuple: Container(list, None, _refilled_tuple),
    dict: Container(_dict_contents, copy.copy, _refilled_dict),
    set: Container(list, copy.copy, _refilled_set),
    frozenset: Container(list, None, lambda value, inner: type(value)(inner)),
    deque: Container(list, copy.copy, _refilled_deque),
    MappingProxyType: Container(_dict_contents, None, _refilled_proxy),
}
_ATTRIBUTES: Final = Container(
    _attributes, _copied_attributes, _refilled_attributes, is_collection=False
)
_MODEL: Final = Container(_model_contents, copy.copy, _refilled_model, is_collection=False)
