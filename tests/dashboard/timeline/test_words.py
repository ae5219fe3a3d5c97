"""Ticks, counts and runs are put in words that people say."""

from __future__ import annotations

import pytest

from eventflow.dashboard.timeline.scale import Tick
from eventflow.dashboard.timeline.words import (
    GLYPHS,
    counts_in_words,
    marks,
    span_in_words,
    tick_in_words,
)
from eventflow.states import StateType
from tests.dashboard.stored import a_run, after, spans


@pytest.mark.parametrize(
    ("micros", "words"),
    [
        (0, "0"),
        (50, "50 µs"),
        (20_000, "20 ms"),
        (1_500_000, "1.5 s"),
        (90_000_000, "1 min 30 s"),
        (7_200_000_000, "2 h"),
        (90_000_000_000, "1 d 1 h"),
    ],
)
def test_a_tick_is_a_round_time(micros: int, words: str) -> None:
    assert tick_in_words(Tick(0.5, micros, is_later=False)) == words
    assert tick_in_words(Tick(0.5, micros, is_later=True)) == f"+{words}"


def test_every_state_has_a_glyph_of_its_own() -> None:
    assert set(GLYPHS) == set(StateType)
    assert len(set(GLYPHS.values())) == len(GLYPHS)


def test_counts_are_exact() -> None:
    assert counts_in_words({"Completed": 9_997, "Failed": 3}) == "9,997 Completed, 3 Failed"
    assert marks({StateType.COMPLETED: 9_997, StateType.FAILED: 3}) == "✓ 9,997 ✕ 3"


def test_a_run_is_told_with_its_steps_and_its_cause() -> None:
    failed = '\n["F", 3000000, null, "no such table"]'
    (span,) = spans(a_run(f"P0R1000000{failed}", state="F", ended=3, number=0xABC, created=2))
    (running,) = spans(a_run("P0R1000000", number=0xABC), now=4)

    assert span_in_words(span, after(0)) == (
        "extract-abc: made after 2.0 s. Pending: 1.0 s; Running: 2.0 s. Failed. no such table"
    )
    assert span_in_words(running, after(0)) == (
        "extract-abc: made after 0 µs. Pending: 1.0 s; Running: 3.0 s. Now Running."
    )


def test_of_many_steps_the_first_are_told_and_the_others_counted() -> None:
    (span,) = spans(a_run("P0" + "".join(f"R{at}S{at + 1}" for at in range(0, 200, 2)) + "R300"))
    told = span_in_words(span, after(0))

    assert told.count(";") == 12
    assert "; and 190 more states." in told
    assert "Running, attempt 2: 1 µs" in told
