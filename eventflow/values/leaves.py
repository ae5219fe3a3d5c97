"""The values that are a single text: how each type is written as one, and made of one again."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeAlias

from eventflow.primitives.callables import MAIN, MP_MAIN, qualified_name
from eventflow.values.masking import described

__all__ = [
    "ESCAPED",
    "Leaf",
    "Pair",
    "Unrecordable",
    "encodable",
    "encode_time",
    "encode_url",
    "is_encodable",
    "leaves",
    "type_name",
]

Pair: TypeAlias = tuple[Any, Any]
"""A value as JSON, and its kind."""

ESCAPED: Final = "*"
"""Behind the kind of a text that JSON cannot hold as it is: it is written with escapes."""

_MAX_DIGIT_BITS: Final = 8192
"""Up to how many bits an integer is written in digits: Python refuses from 4300 digits on."""


class Unrecordable(Exception):
    """Raised with the reason why a value cannot be recorded."""


class Leaf(NamedTuple):
    """How a value of one type becomes a text, and is made of one."""

    text: Callable[[Any], str]
    made: Callable[[str], Any]


@functools.cache
def leaves() -> Mapping[type, tuple[str, Leaf]]:
    """Return the types whose values are one text each, with the names of their kinds."""
    # Not all of them are needed before; they take a while to import.
    import datetime as dt  # noqa: PLC0415
    import decimal  # noqa: PLC0415
    import fractions  # noqa: PLC0415
    import ipaddress  # noqa: PLC0415
    import pathlib  # noqa: PLC0415
    import uuid  # noqa: PLC0415

    def latin(value: bytes | bytearray) -> str:
        return value.decode("latin-1").encode("unicode_escape").decode()

    def unlatin(text: str) -> bytes:
        return text.encode().decode("unicode_escape").encode("latin-1")

    found: dict[type, Leaf] = {
        float: Leaf(_float_text, float),
        int: Leaf(_int_text, lambda text: int(text, 0)),
        complex: Leaf(repr, complex),
        bytes: Leaf(latin, unlatin),
        bytearray: Leaf(latin, lambda text: bytearray(unlatin(text))),
        dt.date: Leaf(dt.date.isoformat, dt.date.fromisoformat),
        decimal.Decimal: Leaf(str, decimal.Decimal),
        fractions.Fraction: Leaf(str, fractions.Fraction),
        uuid.UUID: Leaf(str, uuid.UUID),
    }
    paths = (pathlib.PurePosixPath, pathlib.PureWindowsPath, type(pathlib.Path()))
    names = ("Address", "Network", "Interface")
    addresses = [getattr(ipaddress, f"IPv{number}{name}") for number in (4, 6) for name in names]
    found |= {kind: Leaf(str, kind) for kind in (*paths, *addresses)}

    return {kind: (kind.__name__, leaf) for kind, leaf in found.items()}


def _int_text(value: int) -> str:
    return str(value) if value.bit_length() <= _MAX_DIGIT_BITS else hex(value)


def _float_text(value: float) -> str:
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124


def encodable(text: str) -> tuple[str, bool]:
    """Return a text that can be written, and whether it had to be escaped for that."""
    if is_encodable(text):
        return text, False

    return text.encode("unicode_escape").decode(), True


def is_encodable(text: str) -> bool:
    """Return whether a text can be written as UTF-8."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False

    return True


def type_name(kind: type) -> str:
    """Return the name by which another process finds a type.

    Raises:
        Unrecordable: it is not found by its name.
    """
    module, found = sys.modules.get(kind.__module__), None
    if module is not None and "<" not in kind.__qualname__:
        try:
            found = attrgetter(kind.__qualname__)(module)
        except AttributeError:
            found = None
    if found is not kind:
        where = MAIN if kind.__module__ == MP_MAIN else kind.__module__
        name = f"{where}.{kind.__qualname__}"
        raise Unrecordable(f"its type {name} cannot be imported by its name")

    return qualified_name(kind)


def encode_time(value: Any, kind: type) -> Pair | None:
    """Encode a point or a span of time; return None for anything else.

    Raises:
        Unrecordable: its time zone cannot be recorded.
    """
    if kind.__module__ != "datetime":
        return None
    if kind.__name__ == "timedelta":
        return str(value), {
            "of": "timedelta",
            "at": [value.days, value.seconds, value.microseconds],
        }
    if kind.__name__ not in {"datetime", "time"}:
        return None
    how: dict[str, Any] = {"of": kind.__name__}
    if value.fold:
        how["fold"] = value.fold
    zone = value.tzinfo
    if zone is None or _is_fixed(zone):
        return value.isoformat(), how
    key = getattr(zone, "key", None)
    if type(zone).__module__.startswith("zoneinfo") and isinstance(key, str):
        at = value.replace(tzinfo=None, fold=0).isoformat()
        return value.isoformat(), {**how, "zone": key, "at": at}

    raise Unrecordable(f"its time zone {described(zone)} cannot be recorded")


def _is_fixed(zone: Any) -> bool:
    """Return whether a zone is an offset without a name of its own."""
    from datetime import timezone  # noqa: PLC0415 - beside its only use

    if type(zone).__module__.startswith("pydantic_core"):
        return True

    if type(zone) is not timezone:
        return False

    return zone.tzname(None) == timezone(zone.utcoffset(None)).tzname(None)


def encode_url(value: Any, kind: type) -> Pair | None:
    """Encode a URL of pydantic; return None for anything else."""
    if not kind.__module__.startswith(("pydantic.", "pydantic_core")):
        return None
    if not hasattr(value, "scheme"):
        return None

    return str(value), {"of": "text", "type": type_name(kind)}
