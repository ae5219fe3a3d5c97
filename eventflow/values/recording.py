"""Record parameters as JSON that people can read, and from which each comes back as it was.

The record is `[values]` or `[values, kinds]`. `kinds` says of which type a value is, for those of
which the JSON alone does not say it. The version before recorded an object, of descriptions.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from functools import lru_cache
from types import NoneType
from typing import Any, Final

from pydantic_core import PydanticSerializationError, to_json

from eventflow.settings import (
    EVENTFLOW_HOME,
    EVENTFLOW_MASK_SECRETS,
    EVENTFLOW_PARAMETERS_BYTES,
    are_overridden,
)
from eventflow.values.encoding import Encoder, TooLong, unavailable
from eventflow.values.leaves import Unrecordable, encodable
from eventflow.values.masking import described, is_secret_name

__all__ = ["ONLY_CLASS", "RecordedParameters", "record_parameters"]

SHORT: Final = 1000
"""Up to how many characters the texts of a run are recorded without a look at the settings."""

_MAX_BITS: Final = 64
"""Up to how many bits an integer is written as a number: longer ones not every reader can parse."""


class RecordedParameters(dict[str, Any]):
    """Parameters that were restored; `text` is their record, which is not made again."""

    text: str | None = None


ONLY_CLASS: Final = "it is what the method is called on, of which only the class is recorded"


def record_parameters(
    values: Mapping[str, Any], secrets: Collection[str] = (), receiver: str | None = None
) -> str | None:
    """Record parameters; `secrets` names those of which the annotation asks for a secret.

    Of `receiver`, what a method is called on, only the name of its class is recorded.
    """
    if isinstance(values, RecordedParameters):
        return values.text
    if not values:
        return "[{}]"
    length = 0
    for name, value in values.items():
        kind = type(value)
        if kind is str:
            length += len(value)
        if (
            kind not in _PLAIN
            or (kind is str and ("@" in value or "=" in value))  # perhaps the credentials of a URL
            or (kind is int and value.bit_length() > _MAX_BITS)
            or (kind is float and value - value != 0)  # not finite
            or name in secrets
            or is_secret_name(name)
        ):
            break
    else:
        if length <= SHORT:
            # The JSON of the values alone says what they are.
            try:
                return f"[{to_json(values).decode()}]"
            except (PydanticSerializationError, UnicodeError):  # what cannot be encoded
                pass

    return _record(values, secrets, receiver)


_PLAIN: Final = frozenset({str, int, float, bool, NoneType})


def _record(values: Mapping[str, Any], secrets: Collection[str], receiver: str | None) -> str:
    mask, limit = _settings()
    shown: dict[str, Any] = {}
    kinds: dict[str, Any] = {}
    length = 0
    for name, value in values.items():
        if name == receiver:
            pair, size = _class_only(value), 0
        else:
            pair, size = _recorded(name, value, limit - length, mask=mask, raw=name in secrets)
        length += size
        shown[name] = pair[0]
        if pair[1] is not None:
            kinds[name] = pair[1]

    return to_json([shown, kinds] if kinds else [shown]).decode()


_READ: Final = (EVENTFLOW_MASK_SECRETS.name, EVENTFLOW_PARAMETERS_BYTES.name, EVENTFLOW_HOME.name)


def _settings() -> tuple[bool, int]:
    """Return whether secrets are masked, and the limit."""
    if are_overridden():
        return EVENTFLOW_MASK_SECRETS.value(), EVENTFLOW_PARAMETERS_BYTES.value()

    return _settings_at(int(time.monotonic()), *map(os.environ.get, _READ))


@lru_cache(maxsize=1)
def _settings_at(_second: int, *_given: str | None) -> tuple[bool, int]:
    # Once a second: to look whether the file has changed takes longer than to record a list.
    return EVENTFLOW_MASK_SECRETS.value(), EVENTFLOW_PARAMETERS_BYTES.value()


def _class_only(value: object) -> tuple[Any, Any]:
    kind = value if isinstance(value, type) else type(value)

    return unavailable(ONLY_CLASS, encodable(kind.__name__)[0])


def _recorded(
    name: str, value: object, limit: int, *, mask: bool, raw: bool
) -> tuple[tuple[Any, Any], int]:
    """Return a value and its kind, and how long they are; in short if that is over the limit."""
    try:
        pair = Encoder(mask=mask, limit=limit).named(name, value, raw=raw)
        size = len(to_json(pair))
    except TooLong:
        pair, size = (None, None), limit + 1
    except Unrecordable as problem:
        pair = unavailable(str(problem), described(value))
        size = 0
    except Exception as error:  # noqa: BLE001 - a user's class may do anything
        reason = f"a {type(value).__qualname__} cannot be recorded ({type(error).__name__})"
        return unavailable(reason, described(value)), 0
    if size <= limit:
        return pair, size
    reason = f"it is longer than {EVENTFLOW_PARAMETERS_BYTES.name} allows for a run"

    return unavailable(reason, described(value)), 0
