"""Restore parameters from their record: each as it was, or an `Unavailable` that says why not.

A value is made by its type, validated by it, and recorded again: only if that gives the same record
is it the value that was recorded.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Final

from pydantic_core import to_json

from eventflow.values.encoding import Encoder
from eventflow.values.leaves import ESCAPED, Unrecordable, leaves
from eventflow.values.masking import described, masked_text
from eventflow.values.recording import RecordedParameters
from eventflow.values.unavailable import Unavailable, recorded_as

__all__ = ["FindType", "readable_parameters", "restore_parameters"]

FindType = Callable[[str], object]
"""Finds a type by its name `module:qualname`; returns something else where there is none."""

_MAX_PARTS: Final = 2

_CONTAINERS: Final[Mapping[str, Callable[[list[Any]], Any]]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
}
_MAPPINGS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "dict": dict,
    "OrderedDict": OrderedDict,
    "Counter": lambda pairs: Counter(dict(pairs)),
}


def readable_parameters(text: str | None) -> Any:
    """Return recorded parameters as JSON for people; None if there are none yet."""
    if text is None:
        return None
    try:
        document = json.loads(text)
    except ValueError:
        return text

    return document[0] if isinstance(document, list) and document else document


def restore_parameters(
    text: str | None, find_type: FindType, names: Iterable[str] = ()
) -> RecordedParameters:
    """Restore parameters from their record; `names` are those of the definition."""
    restored = RecordedParameters()
    restored.text = text
    document = readable_parameters(text)
    if text is None:
        reason = "the run had not begun, and its parameters were not recorded yet"
        restored.update({name: Unavailable(reason) for name in names})
    elif not isinstance(document, dict):
        reason = "the record of the parameters cannot be read"
        restored.update({name: Unavailable(reason) for name in names})
    elif not text.startswith("["):
        restored.update({name: _described(name, value) for name, value in document.items()})
    else:
        kinds = _kinds_in(text)
        restorer = _Restorer(find_type)
        restored.update(
            {name: restorer.parameter(name, document[name], kinds.get(name)) for name in document}
        )

    return restored


def _kinds_in(text: str) -> Mapping[str, Any]:
    parts = json.loads(text)

    return parts[1] if len(parts) == _MAX_PARTS and isinstance(parts[1], dict) else {}


def _described(name: str, value: Any) -> Any:
    """Return what the version before recorded: its texts may be values or descriptions."""
    if not isinstance(value, str):
        return value
    reason = (
        f"the parameter {name!r} was recorded by an earlier version of eventflow, "
        f"which may have described it: {described(value)}"
    )

    return Unavailable(reason, value)


class _Restorer:
    """Makes values from their JSON and their kinds."""

    def __init__(self, find_type: FindType) -> None:
        self._find_type = find_type

    def parameter(self, name: str, shown: Any, kind: Any) -> Any:
        """Restore one parameter, and compare it with its record."""
        if kind is None:
            return shown
        try:
            value = self._made(shown, kind)
            if type(value) is Unavailable:
                return Unavailable(f"the parameter {name!r}: {kind['why']}", shown)
            again = Encoder(mask=False).encode(value)
        except Exception as error:  # noqa: BLE001 - a user's class may do anything
            text = masked_text(str(error)[:500])
            problem = text if type(error) is Unrecordable else f"{type(error).__name__}: {text}"
            reason = f"the parameter {name!r} cannot be made of its record again ({problem})"
            return Unavailable(reason, shown)
        if to_json(again) != to_json((shown, kind)):
            reason = f"the parameter {name!r} would not come back as it was: its type changes it"
            return Unavailable(reason, shown)

        return value

    def _made(self, shown: Any, kind: Any) -> Any:
        if kind is None:
            return shown
        if isinstance(kind, str):
            return _leaf(shown, kind)
        if kind["of"] == "unavailable":
            return Unavailable(kind["why"], shown)
        if kind["of"] in {"timedelta", "datetime", "time"}:
            return _time(shown, kind)

        return self._object(shown, kind) if "type" in kind else self._container(shown, kind)

    def _container(self, shown: Any, kind: Mapping[str, Any]) -> Any:
        of = kind["of"]
        if of in _MAPPINGS:
            return _MAPPINGS[of](self._pairs(shown, kind))
        items = self._items(shown, kind)

        return _CONTAINERS[of](items) if of in _CONTAINERS else deque(items, kind["length"])

    def _items(self, shown: list[Any], kind: Mapping[str, Any]) -> list[Any]:
        of_all, of_each = kind.get("all"), kind.get("items", {})

        return [
            self._made(item, of_each.get(str(index), of_all)) for index, item in enumerate(shown)
        ]

    def _pairs(self, shown: Any, kind: Mapping[str, Any]) -> list[tuple[Any, Any]]:
        if isinstance(shown, dict):
            return list(self._parts(shown, kind).items())
        keys = self._items([key for key, _ in shown], kind["keys"])

        return list(zip(keys, self._items([item for _, item in shown], kind), strict=True))

    def _parts(self, shown: Mapping[str, Any], kind: Mapping[str, Any]) -> dict[str, Any]:
        of_all, of_each = kind.get("all"), kind.get("items", {})

        return {key: self._made(item, of_each.get(key, of_all)) for key, item in shown.items()}

    def _object(self, shown: Any, kind: Mapping[str, Any]) -> Any:
        of, found = kind["of"], self._find_type(kind["type"])
        if not isinstance(found, type):
            raise Unrecordable(f"its type {kind['type']} is not found")
        cls: Any = found
        if of == "enum":
            return cls[kind["name"]] if issubclass(cls, Enum) and "name" in kind else cls(shown)
        if of == "text":
            return cls(shown)
        parts = self._parts(shown, kind)
        _require_all(parts)
        if of == "namedtuple":
            return cls._make(parts[name] for name in cls._fields)
        if of == "model":
            return _model(cls, parts, kind)

        return _dataclass(cls, parts)


def _require_all(parts: Mapping[str, Any]) -> None:
    """Refuse to give an object parts that it cannot use.

    Raises:
        Unrecordable: a part is not available.
    """
    for name, part in parts.items():
        if type(part) is Unavailable:
            raise Unrecordable(f"its {name} is not available: {recorded_as(part)[0]}")


def _leaf(text: str, kind: str) -> Any:
    if kind.endswith(ESCAPED):
        kind, text = kind.removesuffix(ESCAPED), text.encode("latin-1").decode("unicode_escape")
    if kind == "str":
        return text

    return next(leaf for name, leaf in leaves().values() if name == kind).made(text)


def _time(shown: str, kind: Mapping[str, Any]) -> Any:
    if kind["of"] == "timedelta":
        days, seconds, microseconds = kind["at"]
        return dt.timedelta(days=days, seconds=seconds, microseconds=microseconds)
    cls = dt.datetime if kind["of"] == "datetime" else dt.time
    value: Any = cls.fromisoformat(kind.get("at", shown))
    if "zone" in kind:
        from zoneinfo import ZoneInfo  # noqa: PLC0415 - rarely needed

        value = value.replace(tzinfo=ZoneInfo(kind["zone"]))

    return value.replace(fold=kind.get("fold", 0))


def _model(cls: Any, parts: dict[str, Any], kind: Mapping[str, Any]) -> Any:
    given = parts["root"] if getattr(cls, "__pydantic_root_model__", False) else parts
    made = cls.model_validate(given, by_name=True, by_alias=False)
    object.__setattr__(made, "__pydantic_fields_set__", parts.keys() - set(kind.get("unset", ())))

    return made


def _dataclass(cls: Any, parts: dict[str, Any]) -> Any:
    fields = {field.name: field for field in dataclasses.fields(cls)}

    return cls(**{name: part for name, part in parts.items() if fields[name].init})
