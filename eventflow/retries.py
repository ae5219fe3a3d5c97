"""When a failed attempt is tried again, and after how long."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Delays", "RetryPolicy", "exponential_backoff"]

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
            ValueError: a count, a delay or the jitter factor is negative.
            TypeError: a delay is not a number.
        """
        count = retries or 0
        if count < 0:
            raise ValueError(f"retries must be 0 or more, but is {count}.")
        if jitter_factor is not None and jitter_factor < 0:
            raise ValueError(f"retry_jitter_factor must be 0 or more, but is {jitter_factor}.")

        return cls(count, _spread(delays(count) if callable(delays) else delays), jitter_factor or 0)

    def delay(self, attempt: int) -> float:
        """Give the seconds to wait after the attempt of that number, counted from 1.

        A list shorter than the retries goes on with its last entry. Jitter only ever lengthens
        a delay, by up to `jitter_factor` times itself.
        """
        if not self.delays:
            return 0.0
        delay = self.delays[min(attempt, len(self.delays)) - 1]

        return delay * (1 + self.jitter_factor * random.random())  # noqa: S311 - not a secret


def _spread(delays: float | Iterable[float] | None) -> tuple[float, ...]:
    if delays is None:
        return ()
    numbers = (delays,) if isinstance(delays, int | float) else tuple(delays)
    for number in numbers:
        if not isinstance(number, int | float):
            raise TypeError(f"retry_delay_seconds must hold numbers of seconds, but got {number!r}.")
        if number < 0:
            raise ValueError(f"retry_delay_seconds must be 0 or more, but got {number!r}.")

    return tuple(float(number) for number in numbers)


def exponential_backoff(backoff_factor: float) -> Callable[[int], list[float]]:
    """Make delays that double with each retry: the factor, twice, four times the factor, …"""

    def delays(retries: int) -> list[float]:
        return [backoff_factor * 2**attempt for attempt in range(retries)]

    return delays
