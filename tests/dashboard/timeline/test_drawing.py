"""A drawing puts each step of a run in its place, as percent of the width."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from hypothesis import given, settings

from eventflow.dashboard.timeline.drawing import MANY, Drawing, drawing_of
from eventflow.dashboard.timeline.groups import SLOTS
from eventflow.journal.rows import StoredRun
from tests.dashboard.stored import (
    HOSTILE,
    ROOT,
    a_root,
    a_run,
    a_timeline,
    after,
    calls,
    no_page,
    trees,
)


def a_drawing(*runs: StoredRun, now: float = 60) -> Drawing:
    return drawing_of(a_timeline(*runs, now=now), no_page)


@settings(max_examples=30)
@given(trees())
def test_all_that_is_drawn_is_within_the_width(runs: list[StoredRun]) -> None:
    drawing = a_drawing(*runs)

    for line in drawing.lines:
        for shape in line.shapes:
            assert 0 <= float(shape.left) <= 100
            assert 0 < float(shape.width) <= 100.001 - float(shape.left)
    assert all(0 <= float(place) <= 100 for place, _ in drawing.ticks)


def test_the_steps_of_a_run_are_drawn_by_what_followed() -> None:
    """An attempt that failed looks otherwise than the one that is executed now."""
    retried = a_run(
        'P0R10000000\n["SAwaitingRetry", 20000000]\n["RRetrying", 40000000]',
        parent=ROOT,
        state="RRetrying",
    )
    line = a_drawing(a_root(), retried).lines[1]

    looks = ["pending", "failed", "scheduled", "running"]
    places = [(0, 100 / 6), (100 / 6, 100 / 6), (100 / 3, 100 / 3), (200 / 3, 100 / 3)]
    assert [shape.look for shape in line.shapes] == looks
    for shape, place in zip(line.shapes, places, strict=True):
        assert (float(shape.left), float(shape.width)) == pytest.approx(place, abs=0.001)
    assert [shape.text for shape in line.shapes] == ["", "", "", "2"]
    assert (line.status, line.took) == ("▶ Retrying", "1 min 00 s, 2 attempts")


@pytest.mark.parametrize(
    ("events", "looks"),
    [
        ("P0R0C60000000", ["completed"]),
        ("P0R0X60000000", ["crashed"]),
        ("P0R0L30000000K60000000", ["cancelled", "cancelling"]),
        ("P0U0R30000000F60000000", ["paused", "failed"]),
        ("P0R0U60000000", ["halted"]),
        ("P0C1", ["completed"]),
    ],
)
def test_every_outcome_has_its_look(events: str, looks: list[str]) -> None:
    run = a_run(events, parent=ROOT)._replace(ended=after(60))
    line = a_drawing(a_root(), run).lines[1]

    assert [shape.look for shape in line.shapes] == looks


def test_a_short_run_can_still_be_seen() -> None:
    long = a_run("P0R0C60000000", parent=ROOT)
    line = a_drawing(a_root(), long, a_run("P0R0C1", parent=ROOT, created=60)).lines[2]

    (shape,) = line.shapes
    assert (float(shape.left), float(shape.width)) == (99.75, 0.25)


def test_a_run_of_very_many_steps_is_drawn_as_levels() -> None:
    events = "P0" + "".join(f"R{at}000000S{at}500000" for at in range(MANY))
    line = a_drawing(a_root(), a_run(f"{events}C100000000", parent=ROOT)).lines[1]

    assert line.shapes == ()
    assert line.levels


def test_a_group_is_drawn_with_its_levels_its_counts_and_its_failures() -> None:
    failed = a_run("P0R0F1000000", parent=ROOT, created=30)
    group = a_drawing(a_root(), *calls(20), failed).lines[1]

    assert (group.name, group.rest, group.look) == ("extract", " × 21", "failed")
    assert group.status == "✓ 20 ✕ 1"
    assert group.failed == (("51.5", 1),)
    assert "21 runs of extract: 20 Completed, 1 Failed." in group.story
    assert re.fullmatch(r"M0 100(H\d+V\d+)+Z", group.levels)
    assert group.levels.endswith(f"H{SLOTS}V100Z")


def test_the_summary_counts_what_was_called_and_what_failed() -> None:
    crashed = a_run("P0R0X60000000", parent=ROOT)

    assert a_drawing(a_root(), *calls(2), crashed).summary == (
        "✓ Completed after 1 min 00 s; 3 runs called, 1 of them failed"
    )
    assert a_drawing(a_root(), crashed).summary.endswith("; 1 run called, 1 of them failed")
    assert a_drawing(a_run("P0R0", number=ROOT), now=9).summary == "▶ Running for 9.0 s"


def test_a_folded_gap_is_drawn_with_its_length() -> None:
    drawing = a_drawing(a_root(3_600), a_run(parent=ROOT), a_run(parent=ROOT, created=3_597))

    assert [words for *_, words in drawing.folds] == ["59 min 56 s"]
    assert drawing.summary.endswith("; 1 long gap folded")


def test_each_bar_has_the_address_of_its_run() -> None:
    def page_of(run_type: str, run_id: UUID) -> str:
        return f"/{run_type}/{run_id.int}"

    drawing = drawing_of(a_timeline(a_root(), a_run(parent=ROOT, number=9), *calls(20)), page_of)

    assert [line.page for line in drawing.lines] == [f"/flow/{ROOT}", None]


def test_control_characters_are_shown() -> None:
    """No reader of the picture, nor its parser, is at the mercy of a name."""
    drawing = a_drawing(a_root(name=HOSTILE), a_run(parent=ROOT, definition=HOSTILE))
    texts = [drawing.label, *(text for line in drawing.lines for text in (line.name, line.story))]

    assert not re.search("[\x00-\x1f\u202e\ufffe\ud800]", "".join(texts))
    assert r"\x00\x1b[31m\u202e\ufffe\ud800" in drawing.label
