"""Options of an attempt: how often it is tried again, after which delays, and its timeout."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, TypeAlias

__all__ = ["Delays", "RetryPolicy", "exponential_backoff", "read_timeout"]

Delays: TypeAlias = "float | Sequence[float] | Callable[[int], float | Sequence[float]] | None"
"""Seconds before each retry: one number for all, one for each, or a function of their count."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and after which delays, a failed attempt is tried again."""

    retries: int = 0
    delays: tuple[float, ...] = ()
    jitter_factor: float = 0.0

    @classmethod
    def of(cls, retries: int | None, delays: Delays, jitter_factor: float | None) -> RetryPolicy:
        """Read the options of a decorator.

        Raises:
            ValueError: a count, a delay or the jitter factor is negative or not finite.
            TypeError: one of them is not a number.
        """
        count = 0 if retries is None else retries
        if not _is_a(count, int):
            raise TypeError(f"retries must be a whole number, but is {count!r}.")
        if count < 0:
            raise ValueError(f"retries must be 0 or more, but is {count}.")
        jitter = 0.0 if jitter_factor is None else _checked("retry_jitter_factor", jitter_factor)

        return cls(count, _spread(delays(count) if callable(delays) else delays), jitter)

    def delay(self, attempt: int) -> float:
        """Return the seconds to wait after the attempt of that number, counted from 1.

        If there are fewer delays than retries, the last one is repeated. Jitter only ever lengthens
        a delay, by up to `jitter_factor` times itself.
        """
        if not self.delays:
            return 0.0
        delay = self.delays[min(attempt, len(self.delays)) - 1]

        return delay * (1 + self.jitter_factor * random.random())  # noqa: S311 - not a secret


def _is_a(value: object, kind: type[int] | UnionType) -> bool:
    """Return whether a value is a number of this kind, which True and False are not."""
    return isinstance(value, kind) and not isinstance(value, bool)


def _spread(delays: Any) -> tuple[float, ...]:
    if delays is None:
        return ()
    # A string is refused as a whole, not letter by letter.
    is_single = isinstance(delays, str) or not isinstance(delays, Iterable)
    numbers = (delays,) if is_single else tuple(delays)

    return tuple(_checked("retry_delay_seconds", number) for number in numbers)


def _checked(option: str, number: object) -> float:
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise TypeError(f"{option} must be a number, or for delays several, but got {number!r}.")
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{option} must be 0 or more, but got {number!r}.")

    return float(number)


def exponential_backoff(backoff_factor: float) -> Callable[[int], list[float]]:
    """Make delays that double with each retry: 1, 2, 4, 8 times the factor.

    Raises:
        ValueError: the factor is negative or not finite.
        TypeError: it is not a number.
    """
    _checked("backoff_factor", backoff_factor)

    def delays(retries: int) -> list[float]:
        return [backoff_factor * 2**attempt for attempt in range(retries)]

    return delays


def read_timeout(seconds: float | None) -> float | None:
    """Read a `timeout_seconds` of a run or a hook; 0, None and infinity mean no timeout.

    Raises:
        TypeError: it is not a number.
        ValueError: it is negative, or not a number of seconds at all.
    """
    if seconds is None:
        return None
    if not _is_a(seconds, int | float):
        raise TypeError(f"timeout_seconds must be a number of seconds, but is {seconds!r}.")
    if not seconds >= 0:
        raise ValueError(
            f"timeout_seconds must be 0 or more, but is {seconds}; 0 and None mean no timeout."
        )

    return float(seconds) if 0 < seconds < math.inf else None
