"""Records: frozen models, and making them of values that are known to be valid already."""

from __future__ import annotations

from threading import RLock
from typing import Any, Final, TypeVar

from pydantic import BaseModel

__all__ = ["Deferred", "record"]

M = TypeVar("M", bound=BaseModel)

_new: Final = object.__new__
# The setters of the slots themselves: that of object takes twice as long, for every state.
_set_values: Final = vars(BaseModel)["__dict__"].__set__
_set_fields: Final = vars(BaseModel)["__pydantic_fields_set__"].__set__
_set_extra: Final = vars(BaseModel)["__pydantic_extra__"].__set__
_set_private: Final = vars(BaseModel)["__pydantic_private__"].__set__
_building: Final = RLock()


class Deferred(BaseModel, frozen=True, defer_build=True):
    """A frozen model whose schema is built when the first instance is validated or serialised.

    Building one takes longer than importing all of eventflow, and most programs need none: a run's
    states and events are made by `record`.
    """

    @classmethod
    def model_rebuild(
        cls, *, force: bool = False, _parent_namespace_depth: int = 2, **options: Any
    ) -> bool | None:
        """Build the schema, one thread at a time; see pydantic's own.

        Before pydantic 2.14, two threads that both need it could take away each other's.
        """
        with _building:
            return super().model_rebuild(
                force=force,
                # Names are looked up where the caller is, and this method stands in between.
                _parent_namespace_depth=_parent_namespace_depth + 1,
                **options,
            )


def record(kind: type[M], values: dict[str, Any], fields: set[str]) -> M:
    """Make an instance from the values of all its fields, in the order of the fields.

    What pydantic's own `model_construct` does besides (defaults, aliases, copies) takes longer
    than its validation; nobody needs it for values that eventflow made itself. `fields` names
    them, and is shared by all records of the kind.
    """
    made = _new(kind)
    _set_values(made, values)
    _set_fields(made, fields)
    _set_extra(made, None)
    _set_private(made, None)

    return made
