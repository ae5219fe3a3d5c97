"""Control characters, shown escaped: a text from elsewhere must not act on a terminal or a log.

Names, messages and errors may hold what a server or a file's name held: sequences that set a
terminal's title or clipboard, marks that reverse the direction of writing, ends of lines that make
one record look like two.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["CONTROLS", "escaped", "escaped_json", "escaped_line", "one_line"]

_NAMED: Final = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}

# C0, DEL and C1; separators of lines; marks that change the direction; halves of pairs; what
# no document in XML may hold.
_ALL: Final = (
    "\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069"
    "\\ud800-\\udfff\\ufffe\\uffff"
)
CONTROLS: Final = re.compile(f"[{_ALL}]")
"""Matches each character that is shown escaped in a line."""

_INLINE: Final = re.compile(f"(?![\\t\\n])[{_ALL}]")


def escaped_line(text: str) -> str:
    """Escape the control characters of a text that is shown in one line."""
    return CONTROLS.sub(_escape, text)


def one_line(text: str, longest: int = 500) -> str:
    """Put the lines of a text into one, cut to a length, its control characters escaped."""
    text = " ".join(text.split())

    return escaped_line(text if len(text) <= longest else f"{text[:longest]}…")


def escaped(text: str) -> str:
    """Escape the control characters of a text of several lines; these and tabs stay."""
    return _INLINE.sub(_escape, text)


def escaped_json(text: str) -> str:
    """Escape those control characters that JSON allows in a string, in a way that JSON reads."""
    return _INLINE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)

    return _NAMED.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")  # noqa: PLR2004 - one byte
