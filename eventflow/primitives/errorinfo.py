"""What is kept of an exception: plain data, which outlives it and can be written anywhere."""

from __future__ import annotations

import traceback
from typing import Final, Self

from eventflow.primitives.records import Deferred, record

__all__ = ["ErrorInfo", "printable"]

TRACEBACK_LIMIT: Final = 16_384
"""How many characters of a traceback an ErrorInfo keeps, counted from its end."""


class ErrorInfo(Deferred, frozen=True):
    """What is kept of an exception: plain data, no live object."""

    type: str
    message: str
    traceback: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Describe an exception, with the end of its traceback."""
        kind = type(error)
        text = "".join(traceback.format_exception(error))
        name = kind.__qualname__ if kind.__module__ == "builtins" else _qualified(kind)

        return cls.told(name, printable(_text(error)), printable(text[-TRACEBACK_LIMIT:]))

    @classmethod
    def told(cls, kind: str, message: str, trace: str = "") -> Self:
        """Give what is known to be printable."""
        # Not validated, for it may be the end of all files or of the memory that is told here.
        return record(cls, {"type": kind, "message": message, "traceback": trace}, _FIELDS)

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


_FIELDS: Final = set(ErrorInfo.model_fields)


def printable(text: str) -> str:
    """Write what no encoding has, such as the undecodable bytes of a file's name, as escapes."""
    if text.isascii():
        return text

    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _qualified(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as problem:  # noqa: BLE001 - a user's __str__ may do anything
        return f"<its text is not available: {type(problem).__name__}>"
