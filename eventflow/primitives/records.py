"""Frozen models that are made of values known to be valid, and a description of an exception."""

from __future__ import annotations

import re
import traceback
from threading import RLock
from typing import Any, Final, Self, TypeGuard, TypeVar

from pydantic import BaseModel

from eventflow.primitives.tracebacks import formatted, own_traceback, trimmed

__all__ = [
    "Deferred",
    "ErrorInfo",
    "error_text",
    "is_a",
    "is_describable",
    "notes_text",
    "printable",
    "record",
    "traceback_text",
    "without_inputs",
]

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

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
        name = kind.__qualname__ if kind.__module__ == "builtins" else _qualified(kind)

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


def printable(text: str) -> str:
    """Escape what cannot be encoded, such as the undecodable bytes of a file's name."""
    if text.isascii():
        return text

    return text.encode("utf-8", "backslashreplace").decode("utf-8")


_INPUT: Final = re.compile(r"(?<=input_value=).*?(?=, input_type=)", re.DOTALL)


def without_inputs(text: str) -> str:
    """Mask what a validation error of pydantic quotes: it may have been given for a secret."""
    return _INPUT.sub("********", text) if "input_value=" in text else text


def _qualified(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def is_a(value: object, kinds: type[T] | tuple[type[T], ...]) -> TypeGuard[T]:
    """Return whether a value is of a class, without asking the value.

    `isinstance` looks at the `__class__` of one that is not, which may be a property that raises.
    """
    return issubclass(type(value), kinds)


def error_text(error: BaseException) -> str:
    """Return the text of an exception, or why there is none: its `__str__` may do anything."""
    try:
        return without_inputs(str(error))
    except BaseException as problem:  # noqa: BLE001 - SystemExit as well; signals are masked here
        return f"<its text is not available: {type(problem).__name__}>"


def notes_text(error: BaseException) -> str:
    """Return the notes of an exception, each after a space; none if they raise."""
    try:
        return "".join(f" {note}" for note in getattr(error, "__notes__", ()))
    except BaseException:  # noqa: BLE001 - whatever its attributes raise
        return ""


def is_describable(error: BaseException) -> bool:
    """Return whether an exception can be formatted, as every handler of a log does."""
    try:
        traceback.format_exception(error)
    except BaseException:  # noqa: BLE001 - whatever its attributes raise
        return False

    return True


def traceback_text(error: BaseException) -> str:
    """Format an exception with the frames of the user's code, its own only if others raise."""
    try:
        return without_inputs(formatted(error))
    except BaseException:  # noqa: BLE001 - SystemExit as well; signals are masked here
        frames = traceback.format_tb(trimmed(own_traceback(error)))
        heading = [HEADING] if frames else []
        return "".join([*heading, *frames, f"{type(error).__qualname__}: {error_text(error)}\n"])


HEADING: Final = "Traceback (most recent call last):\n"
