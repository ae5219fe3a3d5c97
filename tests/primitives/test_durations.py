"""Durations in words."""

from __future__ import annotations

import pytest

from eventflow.primitives.durations import in_words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0000841, "84 µs"),
        (0.00123, "1.23 ms"),
        (0.9993, "999 ms"),
        (0.9999, "1.0 s"),
        (3.44, "3.4 s"),
        (125.2, "2 min 05 s"),
        (3_725, "1 h 02 min"),
    ],
)
def test_durations_are_formatted_for_people(seconds: float, words: str) -> None:
    """The unit fits the size."""
    assert in_words(seconds) == words
