"""Texts of exceptions and of other values, whatever these do when they are asked for it."""

from __future__ import annotations

import re
import traceback
from typing import Final, TypeGuard, TypeVar

from eventflow.primitives.tracebacks import formatted, own_traceback, trimmed

__all__ = [
    "error_text",
    "is_a",
    "is_describable",
    "notes_text",
    "printable",
    "traceback_text",
    "without_inputs",
]

T = TypeVar("T")


def printable(text: str) -> str:
    """Escape what cannot be encoded, such as the undecodable bytes of a file's name."""
    if text.isascii():
        return text

    return text.encode("utf-8", "backslashreplace").decode("utf-8")


_INPUT: Final = re.compile(r"(?<=input_value=).*?(?=, input_type=)", re.DOTALL)


def without_inputs(text: str) -> str:
    """Mask what a validation error of pydantic quotes: it may have been given for a secret."""
    return _INPUT.sub("********", text) if "input_value=" in text else text


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
