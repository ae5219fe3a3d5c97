"""Making frozen records of values that are known to be valid, without validating them again."""

from __future__ import annotations

from typing import Any, Final, TypeVar

from pydantic import BaseModel

__all__ = ["record"]

M = TypeVar("M", bound=BaseModel)

_set: Final = object.__setattr__


def record(kind: type[M], values: dict[str, Any], fields: set[str]) -> M:
    """Make an instance from the values of all its fields, in the order of the fields.

    What pydantic's own `model_construct` does besides (defaults, aliases, copies) takes longer
    than its validation; nobody needs it for values that eventflow made itself. `fields` names
    them, and is shared by all records of the kind.
    """
    made = kind.__new__(kind)
    _set(made, "__dict__", values)
    _set(made, "__pydantic_fields_set__", fields)
    _set(made, "__pydantic_extra__", None)
    _set(made, "__pydantic_private__", None)

    return made
