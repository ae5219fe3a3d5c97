"""Durations in words, for logs and for the command line."""

from __future__ import annotations

__all__ = ["in_words"]


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
