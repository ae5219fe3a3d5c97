"""Formats of times and sizes, and options for them: `3 m ago`, `30d`, `2026-03-01 12:00`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

__all__ = ["BYTES", "DURATION", "SINCE", "ago", "at", "bytes_in_words", "clock"]

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SIZES: Final = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])", re.IGNORECASE)
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)


def ago(moment: datetime, now: datetime | None = None) -> str:
    """Format an age: `now`, `40 s ago`, `3 m ago`, `5 h ago`, `12 d ago`."""
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    if -1 < seconds < 1:
        return "now"
    length = _rough(abs(seconds))

    return f"{length} ago" if seconds > 0 else f"in {length}"


def _rough(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        # One number of the largest unit: two days without hours, two hours without minutes.
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"

    return f"{int(seconds)} s"


def at(moment: datetime | None, now: datetime) -> str:
    """Format a time in local time, to the second, with its age; "" for None."""
    if moment is None:
        return ""

    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}, {ago(moment, now)}"


def clock(moment: datetime) -> str:
    """Format a time in local time, to the millisecond, with its day unless that is today."""
    local = moment.astimezone()
    day = "" if local.date() == datetime.now().astimezone().date() else f"{local:%Y-%m-%d} "

    return f"{day}{local:%H:%M:%S}.{local.microsecond // 1000:03}"


def bytes_in_words(size: int) -> str:
    """Format a size: `512 B`, `1.4 MB`."""
    value, unit = float(size), "B"
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if value < 1024 or unit == "TB":  # noqa: PLR2004 - by definition
            break
        value /= 1024

    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


class _Duration(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3 only
    """A length of time: `90s`, `15m`, `12h`, `30d`, `2w`."""

    name = "DURATION"

    def convert(self, value: Any, param: Any, ctx: Any) -> timedelta:
        """Parse it."""
        if isinstance(value, timedelta):
            return value
        match = _DURATION.fullmatch(str(value).strip())
        if match is None:
            self.fail(
                f"{value!r} is no length of time; write 90s, 15m, 12h, 30d or 2w.", param, ctx
            )
        try:
            return timedelta(seconds=float(match[1]) * _UNITS[match[2].lower()])
        except OverflowError:
            self.fail(f"{value!r} is too long.", param, ctx)


class _Since(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3 only
    """A moment: a length of time before now, or a date with or without a time."""

    name = "TIME"

    def convert(self, value: Any, param: Any, ctx: Any) -> datetime:
        """Parse it; a time without a zone is local."""
        if isinstance(value, datetime):
            return value
        text = str(value).strip()
        try:
            if _DURATION.fullmatch(text):
                return datetime.now(UTC) - DURATION.convert(text, param, ctx)
            return datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            advice = "write 15m, 12h, 30d, 2026-03-01 or '2026-03-01 12:00'"
            self.fail(f"{value!r} is no time; {advice}.", param, ctx)


class _Bytes(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3 only
    """A size: `500MB`, `1GB`, `1073741824`."""

    name = "SIZE"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        """Parse it; a KB is 1024 bytes."""
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is no size; write 500MB, 1GB or a number of bytes.", param, ctx)

        return int(float(match[1]) * _SIZES[match[2].lower()])


DURATION: Final = _Duration()
SINCE: Final = _Since()
BYTES: Final = _Bytes()
