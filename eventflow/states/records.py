"""Frozen models that are made of values known to be valid, and a description of an exception."""

from __future__ import annotations

from threading import RLock
from typing import Any, Final, Self, TypeVar

from pydantic import BaseModel

from eventflow.primitives.texts import error_text, printable, traceback_text

__all__ = ["Deferred", "ErrorInfo", "record"]

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

    Building a schema takes longer than importing all of eventflow, and most programs need none:
    states and events are made by `record`.
    """

    @classmethod
    def model_rebuild(
        cls, *, force: bool = False, _parent_namespace_depth: int = 2, **options: Any
    ) -> bool | None:
        """Build the schema, one thread at a time; see pydantic's own.

        Before pydantic 2.14, two threads that build it at once could undo each other's work.
        """
        with _building:
            return super().model_rebuild(
                force=force,
                # Names are resolved in the frame of the caller, and this method adds one.
                _parent_namespace_depth=_parent_namespace_depth + 1,
                **options,
            )


def record(kind: type[M], values: dict[str, Any], fields: set[str]) -> M:
    """Make an instance from the values of all its fields, in the order of the fields.

    pydantic's own `model_construct` also handles defaults, aliases and copies, which takes longer
    than validation and is not needed for eventflow's own values. `fields` names all of them, and
    is shared by all records of the kind.
    """
    made = _new(kind)
    _set_values(made, values)
    _set_fields(made, fields)
    _set_extra(made, None)
    _set_private(made, None)

    return made


TRACEBACK_LIMIT: Final = 16_384
"""How many characters an ErrorInfo keeps of the end of a traceback."""


class ErrorInfo(Deferred, frozen=True):
    """A description of an exception: plain data, no live object."""

    type: str
    message: str
    traceback: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Describe an exception, with the end of its traceback."""
        kind = type(error)
        text = traceback_text(error)
        module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
        name = module + kind.__qualname__

        return cls.of_texts(name, printable(error_text(error)), printable(text[-TRACEBACK_LIMIT:]))

    @classmethod
    def of_texts(cls, kind: str, message: str, trace: str = "") -> Self:
        """Make a description of texts that are known to be printable."""
        # Without validation: it may describe that no file or no memory is left, and validation
        # needs both.
        return record(cls, {"type": kind, "message": message, "traceback": trace}, _FIELDS)

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


_FIELDS: Final = set(ErrorInfo.model_fields)
