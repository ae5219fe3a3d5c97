"""Options of an attempt: counts, delays in every form, jitter, timeouts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflow.retries import RetryPolicy, exponential_backoff, read_timeout


@pytest.mark.parametrize(
    ("delays", "expected"),
    [
        (None, [0, 0, 0]),
        (2, [2, 2, 2]),
        (0.5, [0.5, 0.5, 0.5]),
        ([1, 5], [1, 5, 5]),
        ((1, 2, 3, 4), [1, 2, 3]),
        ([], [0, 0, 0]),
        (lambda count: [count, count + 1], [3, 4, 4]),
        (lambda count: 7, [7, 7, 7]),
        (exponential_backoff(2), [2, 4, 8]),
    ],
)
def test_delays_in_every_form(delays: Any, expected: list[float]) -> None:
    """A number, a list whose last entry is repeated, or a function of the count."""
    policy = RetryPolicy.of(3, delays, None)

    assert [policy.delay(attempt) for attempt in (1, 2, 3)] == expected


def test_no_retries_are_the_default() -> None:
    """Without options nothing is retried."""
    assert RetryPolicy.of(None, None, None) == RetryPolicy()


@given(st.floats(0, 10), st.floats(0, 100))
def test_jitter_only_lengthens(factor: float, delay: float) -> None:
    """A delay lies between itself and itself times one plus the factor."""
    policy = RetryPolicy.of(1, delay, factor)

    assert delay <= policy.delay(1) <= delay * (1 + factor)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((-1, None, None), ValueError, "retries must be 0 or more, but is -1"),
        (("3", None, None), TypeError, "retries must be a whole number, but is '3'"),
        ((True, None, None), TypeError, "retries must be a whole number, but is True"),
        ((1.5, None, None), TypeError, "retries must be a whole number, but is 1.5"),
        ((1, -1, None), ValueError, "retry_delay_seconds must be 0 or more, but got -1"),
        ((1, [1, float("nan")], None), ValueError, "retry_delay_seconds must be 0 or more"),
        ((1, float("inf"), None), ValueError, "retry_delay_seconds must be 0 or more"),
        ((1, "10", None), TypeError, "retry_delay_seconds must be a number.* but got '10'"),
        ((1, [None], None), TypeError, "retry_delay_seconds must be a number.* but got None"),
        ((1, object(), None), TypeError, "retry_delay_seconds must be a number"),
        ((1, 1, -0.5), ValueError, "retry_jitter_factor must be 0 or more, but got -0.5"),
        ((1, 1, "a"), TypeError, "retry_jitter_factor must be a number"),
        ((1, 1, ""), TypeError, "retry_jitter_factor must be a number"),
        ((1, True, None), TypeError, "retry_delay_seconds must be a number"),
    ],
)
def test_wrong_options_are_refused(arguments: Any, error: type[Exception], message: str) -> None:
    """The message names the option, the value and what is allowed."""
    with pytest.raises(error, match=message):
        RetryPolicy.of(*arguments)


@pytest.mark.parametrize("seconds", [None, 0, 0.0, float("inf")])
def test_no_timeout(seconds: float | None) -> None:
    """0 and None mean none, and so does a time without end."""
    assert read_timeout(seconds) is None


def test_a_timeout_in_seconds() -> None:
    """It is a number of seconds, whole or not."""
    assert [read_timeout(seconds) for seconds in (0.5, 3)] == [0.5, 3.0]


@pytest.mark.parametrize(
    ("seconds", "error", "message"),
    [
        (-1, ValueError, "timeout_seconds must be 0 or more, but is -1"),
        (float("nan"), ValueError, "timeout_seconds must be 0 or more, but is nan"),
        ("1", TypeError, "timeout_seconds must be a number of seconds, but is '1'"),
        (True, TypeError, "timeout_seconds must be a number of seconds, but is True"),
    ],
)
def test_wrong_timeouts_are_refused(seconds: Any, error: type[Exception], message: str) -> None:
    """What is no length of time is refused, with its value."""
    with pytest.raises(error, match=message):
        read_timeout(seconds)


@pytest.mark.parametrize(("factor", "error"), [(-1, ValueError), ("1", TypeError)])
def test_a_wrong_factor_is_refused(factor: Any, error: type[Exception]) -> None:
    """Where it is given, not where the delays are asked for."""
    with pytest.raises(error, match="backoff_factor must be"):
        exponential_backoff(factor)
