"""Encode a value as JSON for people, and as a kind that says how it is made from that again.

A kind is None where the JSON is the value itself, a name where the JSON is the text of a value of
one of `leaves()`, and else an object: `of` names how the parts were put together, `items` has the
kinds of parts, `all` that of every one.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Iterable, Mapping
from enum import Enum, Flag
from operator import attrgetter
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import to_json

from eventflow.settings import MASK
from eventflow.values.leaves import (
    ESCAPED,
    Pair,
    Unrecordable,
    encodable,
    encode_time,
    encode_url,
    is_encodable,
    leaves,
    type_name,
)
from eventflow.values.masking import (
    has_credentials,
    holds_secrets,
    is_secret_name,
    is_secret_value,
    masked_text,
    secret_types,
)
from eventflow.values.unavailable import Unavailable, recorded_as

__all__ = ["Encoder", "TooLong", "unavailable"]

MAX_DEPTH: Final = 50
_MAX_BITS: Final = 64
_SIMPLE: Final = frozenset({str, int, float})

_BY_TYPE: Final = "it is a secret, and no secret is recorded"
_BY_NAME: Final = "it is called like a secret, and was masked"
_CREDENTIALS: Final = "it has credentials in it, which were masked"


class TooLong(Exception):
    """Raised when a value is longer than what may be recorded of it."""


def unavailable(reason: str, shown: object) -> Pair:
    """Return what is recorded of a value that will not come back."""
    return shown, {"of": "unavailable", "why": reason}


class Encoder:
    """Encodes one value. `limit` is about how many characters it may have.

    Without `mask` only what is secret by its type is masked.
    """

    def __init__(self, *, mask: bool, limit: int = sys.maxsize) -> None:
        self._mask = mask
        self._left = limit

    def named(self, name: object, value: Any, *, raw: bool = False, depth: int = 0) -> Pair:
        """Encode a value that has a name; masked if it is called like a secret.

        With `raw` what is not yet of a type of its own is masked: a secret was asked for.

        Raises:
            TooLong: it is longer than the limit.
            Unrecordable: it cannot be recorded.
        """
        if (
            self._mask
            and isinstance(name, str)
            and is_secret_name(name)
            and is_secret_value(value)
            and type(value) is not Unavailable
        ):
            return unavailable(_BY_NAME, MASK)

        return self.encode(value, raw=raw, depth=depth)

    def encode(self, value: Any, *, raw: bool = False, depth: int = 0) -> Pair:
        """Encode a value; see `named`.

        Raises:
            TooLong: it is longer than the limit.
            Unrecordable: it cannot be recorded.
        """
        kind = type(value)
        if value is None or kind is bool:
            self._spend(4)
            return value, None
        simple = self._single(value, kind) if kind in _SIMPLE and not raw else None
        if simple is not None:
            return simple
        if kind is Unavailable:
            return unavailable(*recorded_as(value))
        if isinstance(value, secret_types()):
            return unavailable(_BY_TYPE, str(value))
        if depth > MAX_DEPTH:
            raise Unrecordable(f"it is nested more than {MAX_DEPTH} deep")

        return (
            self._container(value, kind, depth + 1, raw=raw)
            or self._hidden(value, kind, raw=raw)
            or self._single(value, kind)
            or self._composed(value, kind, depth + 1)
        )

    @staticmethod
    def _hidden(value: Any, kind: type, *, raw: bool) -> Pair | None:
        """Mask what is in the place of a secret, and of no type of its own."""
        if raw and not isinstance(value, BaseModel) and not dataclasses.is_dataclass(kind):
            return unavailable(_BY_TYPE, MASK)

        return None

    def _spend(self, length: int) -> None:
        self._left -= length
        if self._left < 0:
            raise TooLong

    # -- single values ----------------------------------------------------------------------

    def _text(self, value: str) -> Pair:
        self._spend(len(value) + 2)
        if self._mask and has_credentials(value):
            shown, _ = encodable(masked_text(value))
            return unavailable(_CREDENTIALS, shown)
        shown, escaped = encodable(value)

        return shown, f"str{ESCAPED}" if escaped else None

    def _single(self, value: Any, kind: type) -> Pair | None:
        if kind is str:
            return self._text(value)
        if kind is int and value.bit_length() <= _MAX_BITS:
            self._spend(20)
            return value, None
        if kind is float and value - value == 0:
            self._spend(20)
            return value, None
        if kind in {bytes, bytearray}:
            self._spend(len(value))
        elif kind is int:
            self._spend(value.bit_length() // 4)
        known = leaves().get(kind)
        if known is not None:
            name, leaf = known
            shown, escaped = encodable(leaf.text(value))
            self._spend(len(shown) + len(name))
            return shown, f"{name}{ESCAPED}" if escaped else name

        return encode_time(value, kind) or self._url(value, kind)

    def _url(self, value: Any, kind: type) -> Pair | None:
        pair = encode_url(value, kind)
        if pair is not None and self._mask and has_credentials(pair[0]):
            return unavailable(_CREDENTIALS, masked_text(pair[0]))

        return pair

    # -- containers -------------------------------------------------------------------------

    def _container(self, value: Any, kind: type, depth: int, *, raw: bool) -> Pair | None:
        if kind is dict or kind.__module__ == "collections":
            return self._collection(value, kind, depth, raw=raw)
        if kind in {list, tuple}:
            return self._sequence(value, kind.__name__, depth, raw=raw)
        if kind in {set, frozenset}:
            return self._set(value, kind.__name__, depth, raw=raw)

        return None

    def _collection(self, value: Any, kind: type, depth: int, *, raw: bool) -> Pair | None:
        if kind is dict or kind.__name__ in {"OrderedDict", "Counter"}:
            return self._mapping(value, kind.__name__, depth, raw=raw)
        if kind.__name__ == "deque":
            shown, how = self._sequence(value, "deque", depth, raw=raw)
            return shown, {**how, "length": value.maxlen}

        return None

    def _sequence(self, value: Any, of: str, depth: int, *, raw: bool) -> Pair:
        self._spend(2 * len(value))
        pairs = [self.encode(item, raw=raw, depth=depth) for item in value]
        kinds = _kinds(enumerate(kind for _, kind in pairs))
        shown = [item for item, _ in pairs]

        return shown, {"of": of, **kinds} if kinds or of != "list" else None

    def _set(self, value: Any, of: str, depth: int, *, raw: bool) -> Pair:
        self._spend(2 * len(value))
        pairs = [self.encode(item, raw=raw, depth=depth) for item in value]
        for shown, kind in pairs:
            if _is_unavailable(kind):
                return unavailable(f"an item of it is not available: {kind['why']}", shown)
        # In an order of its own: that of a set is another in every process.
        pairs.sort(key=to_json)
        kinds = _kinds(enumerate(kind for _, kind in pairs))

        return [item for item, _ in pairs], {"of": of, **kinds}

    def _mapping(self, value: Any, of: str, depth: int, *, raw: bool) -> Pair:
        self._spend(4 * len(value))
        if not all(type(key) is str and is_encodable(key) for key in value):
            return self._pairs(value, of, depth, raw=raw)
        shown: dict[str, Any] = {}
        parts: dict[str, Any] = {}
        for key, item in value.items():
            self._spend(len(key))
            shown[key], parts[key] = self.named(key, item, raw=raw, depth=depth)
        kinds = _kinds(parts.items())

        return shown, {"of": of, **kinds} if kinds or of != "dict" else None

    def _pairs(self, value: Any, of: str, depth: int, *, raw: bool) -> Pair:
        """Encode a dict with keys that JSON cannot have, as a list of pairs."""
        pairs = [
            (self.encode(key, depth=depth), self.named(key, item, raw=raw, depth=depth))
            for key, item in value.items()
        ]
        for (shown, kind), _ in pairs:
            if _is_unavailable(kind):
                return unavailable(f"a key of it is not available: {kind['why']}", shown)
        keys = _kinds(enumerate(kind for (_, kind), _ in pairs))
        items = _kinds(enumerate(kind for _, (_, kind) in pairs))

        return [[key[0], item[0]] for key, item in pairs], {"of": of, "keys": keys, **items}

    # -- objects ----------------------------------------------------------------------------

    def _composed(self, value: Any, kind: type, depth: int) -> Pair:
        if isinstance(value, Enum):
            by_name = {} if isinstance(value, Flag) else {"name": value.name}
            shown = value.name if by_name else self.encode(value.value, depth=depth)[0]
            return shown, {"of": "enum", "type": type_name(kind), **by_name}
        if isinstance(value, BaseModel):
            return self._model(value, kind, depth)
        if dataclasses.is_dataclass(value):
            return self._dataclass(value, kind, depth)
        if isinstance(value, tuple) and hasattr(kind, "_fields") and not _vars_of(value):
            of = {"of": "namedtuple", "type": type_name(kind)}
            shown, kinds = self._parts(dict(zip(kind._fields, value, strict=True)), depth)
            return shown, {**of, **kinds}

        raise Unrecordable(f"a {kind.__module__}.{kind.__qualname__} cannot be recorded")

    def _parts(
        self, values: Mapping[str, Any], depth: int, secrets: Iterable[str] = ()
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        shown: dict[str, Any] = {}
        parts: dict[str, Any] = {}
        for name, item in values.items():
            self._spend(len(name) + 4)
            shown[name], parts[name] = self.named(name, item, raw=name in secrets, depth=depth)

        return shown, _kinds(parts.items())

    def _model(self, value: BaseModel, kind: type[BaseModel], depth: int) -> Pair:
        how: dict[str, Any] = {"of": "model", "type": type_name(kind)}
        present = {name: vars(value)[name] for name in kind.model_fields if name in vars(value)}
        hidden = value.__pydantic_private__ or {}
        secrets = _secret_fields(kind)
        shown, kinds = self._parts({**present, **(value.model_extra or {})}, depth, secrets)
        unset = sorted(shown.keys() - value.model_fields_set)
        if unset:
            how["unset"] = unset
        if hidden:
            # Recorded to be compared: no constructor takes them.
            how["private"] = self._parts(hidden, depth)

        return shown, {**how, **kinds}

    def _dataclass(self, value: Any, kind: type, depth: int) -> Pair:
        names = [field.name for field in dataclasses.fields(value)]
        others = _attributes(value, kind) - set(names)
        if others:
            raise Unrecordable(f"it has attributes that are no fields: {', '.join(sorted(others))}")
        if isinstance(value, list | tuple | dict | set | frozenset | str | bytes | int | float):
            raise Unrecordable(f"a {kind.__qualname__} is a dataclass and a value of another type")
        how = {"of": "dataclass", "type": type_name(kind)}
        values = {name: attrgetter(name)(value) for name in names}
        shown, kinds = self._parts(values, depth, _secret_fields(kind))

        return shown, {**how, **kinds}


def _is_unavailable(kind: Any) -> bool:
    return isinstance(kind, dict) and kind["of"] == "unavailable"


def _kinds(parts: Iterable[tuple[object, Any]]) -> dict[str, Any]:
    """Return the kinds of parts that have one: once, if all have the same."""
    kinds = list(parts)
    given = {str(key): kind for key, kind in kinds if kind is not None}
    if len(given) == len(kinds) > 1:
        first = next(iter(given.values()))
        if all(kind == first for kind in given.values()):
            return {"all": first}

    return {"items": given} if given else {}


def _vars_of(value: Any) -> dict[str, Any]:
    """Return the attributes that a value holds in its `__dict__`, without cached ones."""
    attributes = getattr(value, "__dict__", {})
    cached = functools.cached_property

    return {
        name: item
        for name, item in attributes.items()
        if not isinstance(getattr(type(value), name, None), cached)
    }


def _attributes(value: Any, kind: type) -> set[str]:
    slots: set[str] = set()
    for base in kind.__mro__:
        given = vars(base).get("__slots__", ())
        slots |= {given} if isinstance(given, str) else set(given)

    return {*_vars_of(value), *slots} - {"__dict__", "__weakref__"}


def _secret_fields(kind: Any) -> set[str]:
    """Return the names of the fields whose annotation asks for a secret."""
    annotations: dict[str, Any]
    if issubclass(kind, BaseModel):
        annotations = {name: field.annotation for name, field in kind.model_fields.items()}
    else:
        annotations = {field.name: field.type for field in dataclasses.fields(kind)}

    return {name for name, annotation in annotations.items() if holds_secrets(annotation)}
