"""What is kept of an exception: plain data, which outlives it and can be written anywhere."""

from __future__ import annotations

import traceback
from typing import Final, Self

from pydantic import BaseModel, ConfigDict

__all__ = ["ErrorInfo", "printable"]

TRACEBACK_LIMIT: Final = 16_384
"""How many characters of a traceback an ErrorInfo keeps, counted from its end."""


class ErrorInfo(BaseModel):
    """What is kept of an exception: plain data, no live object."""

    model_config = ConfigDict(frozen=True)

    type: str
    message: str
    traceback: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Describe an exception, with the end of its traceback."""
        kind = type(error)
        text = "".join(traceback.format_exception(error))
        name = kind.__qualname__ if kind.__module__ == "builtins" else _qualified(kind)

        return cls(
            type=name,
            message=printable(_text(error)),
            traceback=printable(text[-TRACEBACK_LIMIT:]),
        )

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


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
