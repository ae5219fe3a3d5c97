"""Times and sizes: how they are printed, and what the options accept."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest

from eventflow.cli.display.times import BYTES, DURATION, SINCE, ago, at, bytes_in_words, clock

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set a time zone that differs from UTC."""
    before = os.environ.get("TZ")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    if before is None:
        monkeypatch.delenv("TZ")
    else:
        monkeypatch.setenv("TZ", before)
    time.tzset()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *[(0, "now"), (0.9, "now"), (40, "40 s ago"), (59.7, "59 s ago"), (200, "3 m ago")],
        *[(3_600 * 5, "5 h ago"), (86_400 * 12, "12 d ago"), (-30, "in 30 s")],
    ],
)
def test_ages(seconds: float, words: str) -> None:
    """In the largest unit that fits, rounded down."""
    assert ago(NOW - timedelta(seconds=seconds), NOW) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (512, "512 B"), (1_468_006, "1.4 MB"), (2**31, "2.0 GB"), (2**60, "1048576.0 TB")],
)
def test_sizes(size: int, words: str) -> None:
    """In powers of 1024."""
    assert bytes_in_words(size) == words


def test_moments_are_local(in_tokyo: None) -> None:
    """With the day where it is not today."""
    assert at(NOW, NOW + timedelta(hours=2)) == "2026-03-01 21:00:00, 2 h ago"
    assert at(None, NOW) == ""
    assert clock(NOW) == "2026-03-01 21:00:00.000"
    assert len(clock(datetime.now(UTC))) == len("21:00:00.000")


def read(kind: Any, text: str) -> Any:
    return kind.convert(text, None, None)


def test_accepted_values(in_tokyo: None) -> None:
    """Durations, times (local unless they have a zone), and sizes."""
    assert read(DURATION, "90s") == timedelta(seconds=90)
    assert read(DURATION, "1.5 H") == timedelta(minutes=90)
    assert read(DURATION, "2w") == timedelta(weeks=2)
    assert read(SINCE, "2026-03-01") == datetime(2026, 2, 28, 15, tzinfo=UTC)
    assert read(SINCE, "2026-03-01T12:00Z") == NOW
    before = datetime.now(UTC)
    assert before <= read(SINCE, "1m") + timedelta(minutes=1) <= datetime.now(UTC)
    assert [read(BYTES, text) for text in ("7", "1KB", "1.5 MiB", "2g")] == [
        *(7, 1024, 1_572_864, 2**31),
    ]
    for kind, value in ((DURATION, timedelta(1)), (SINCE, NOW), (BYTES, 3)):
        assert read(kind, value) == value  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *[(DURATION, ""), (DURATION, "5"), (DURATION, "-5s"), (DURATION, "9" * 20 + "w")],
        *[(SINCE, "noon"), (SINCE, "2026-13-01"), (SINCE, "9999999999d"), (BYTES, "1PB")],
    ],
)
def test_refused_values(kind: Any, text: str) -> None:
    """With a click error that says what is accepted."""
    with pytest.raises(click.BadParameter, match=r"write|too long"):
        read(kind, text)
