"""What the port of one file has brought to light."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding", "Ported"]


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something that is left to do by hand."""

    line: int
    column: int
    what: str
    """The code that it is about, on one line."""
    advice: str


@dataclass(frozen=True, slots=True)
class Ported:
    """A source rewritten, and what is left to do in it."""

    source: bytes
    left: tuple[Finding, ...] = ()
