"""Durations: read from options, and in words for logs and for the command line."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

__all__ = ["in_words", "read_seconds"]

MOST: Final = 100 * 366 * 86_400
"""A hundred years: no date so much later is out of range."""


def read_seconds(option: str, value: object) -> float:
    """Read an option that is a number of seconds or a timedelta, longer than 0.

    Raises:
        TypeError: it is neither.
        ValueError: it is 0 or negative, or longer than a hundred years.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"{option} must be a number of seconds, or a timedelta, but got {value!r}.")
    if not 0 < seconds <= MOST:
        raise ValueError(
            f"{option} must be longer than 0 seconds, and at most 100 years, but got {value!r}."
        )

    return float(seconds)


def in_words(seconds: float) -> str:
    """Format a duration for people: `84 µs`, `1.2 ms`, `3.4 s`, `2 min 05 s`, `1 h 02 min`."""
    if seconds < 0.001:  # noqa: PLR2004 - a millisecond
        return f"{seconds * 1_000_000:.0f} µs"
    if seconds < 0.9995:  # noqa: PLR2004 - rounds to less than a second
        return f"{seconds * 1_000:.3g} ms"
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004 - an hour
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)

    return f"{hours} h {minutes:02} min"
