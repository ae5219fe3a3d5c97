"""A timeline is rendered as HTML and as SVG in which every name is text."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from eventflow.dashboard.timeline import rendering
from eventflow.dashboard.timeline.folding import Timeline
from eventflow.dashboard.timeline.rendering import STYLESHEET, timeline_html, timeline_svg
from eventflow.errors import MissingExtraError
from tests.dashboard.stored import (
    HOSTILE,
    ROOT,
    a_root,
    a_run,
    a_timeline,
    calls,
    markup,
    no_page,
)

SVG = "{http://www.w3.org/2000/svg}"

both = pytest.mark.parametrize("rendered", [timeline_html, timeline_svg])


def page_of(run_type: str, run_id: UUID) -> str:
    return f"/{run_type}?id={run_id.int}&x"


def of_every_kind() -> Timeline:
    """Make a timeline of runs in all states, with a group and folded gaps."""
    states = ["P0", "P0R1", "P0R1C9", "P0R1F9", "P0R1X9", "P0U1", "P0L1", "P0L1K9", "S0"]
    runs = [a_run(text, parent=ROOT, definition=f"d{at}") for at, text in enumerate(states)]
    retried = a_run('P0R0\n["SAwaitingRetry", 9]\n["RRetrying", 99]', parent=ROOT, state="R")
    gap = a_run(parent=ROOT, created=7_200, definition="late")

    return a_timeline(a_root(), *runs, retried, *calls(20, definition="fetch"), gap, now=1)


@both
def test_it_is_well_formed(rendered: Callable[..., str]) -> None:
    markup(rendered(of_every_kind(), page_of))


@both
def test_a_page_without_inline_code_and_styles_can_hold_it(rendered: Callable[..., str]) -> None:
    """Presentation attributes and classes only: a policy for content blocks all else."""
    text = rendered(of_every_kind(), page_of)

    assert not re.search(r"\sstyle=|\son\w+=|<script|javascript:", text)
    assert not re.search(r"(?:href|src)=\"(?!#|/(?:flow|task)\?)", text)


@both
def test_hostile_names_stay_text(rendered: Callable[..., str]) -> None:
    hostile: dict[str, Any] = {"name": HOSTILE, "definition": HOSTILE}
    message = '["F", 9, null, "<script>alert(1)</script>"]'
    run = a_run(f"P0\n{message}", state=f"F{HOSTILE}", ended=1, parent=ROOT, **hostile)
    text = rendered(a_timeline(a_root(**hostile), run), page_of)
    root = markup(text)

    names = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert "script" not in names
    assert "49" not in "".join(re.findall(r"<b>[^<]*", text))
    assert "<script>alert(1)</script>" in "".join(root.itertext())


@both
def test_each_bar_links_to_its_run(rendered: Callable[..., str]) -> None:
    run = a_run(parent=ROOT)
    root = markup(rendered(a_timeline(a_root(), run), page_of))

    links = [element.get("href") for element in root.iter() if element.tag in {"a", f"{SVG}a"}]
    assert links == [f"/flow?id={ROOT}&x", f"/task?id={run.id}&x"]


@both
def test_it_can_be_read_without_seeing_it(rendered: Callable[..., str]) -> None:
    """Each row has a text that tells its run, and the whole has a summary."""
    text = "".join(markup(rendered(a_timeline(a_root(), a_run(parent=ROOT)), no_page)).itertext())

    assert "✓ Completed after 1 min 00 s; 1 run called" in text
    assert "made after 0 µs. Running: 1.0 s. Completed." in text.replace("Pending: 1.0 s; ", "")


@both
def test_the_words_of_a_gap_stay_within_the_width(rendered: Callable[..., str]) -> None:
    """At an edge they begin or end there."""
    first, last = a_run(parent=ROOT, created=7_200), a_run(parent=ROOT)
    texts = [
        re.findall(
            r'class="tl-gap" x="([\d.]+)%" y="11" text-anchor="(\w+)"', rendered(each, no_page)
        )
        for each in (a_timeline(a_root(7_202), first), a_timeline(a_root(7_202), last))
    ]

    assert texts == [[("0", "start")], [("100", "end")]]


def test_a_picture_of_its_own_has_its_look_and_a_page_has_not() -> None:
    timeline = a_timeline(a_root())

    assert STYLESHEET.read_text() in timeline_svg(timeline, no_page)
    assert "<style" not in timeline_html(timeline, no_page)


def test_every_class_has_a_look() -> None:
    """But those of groups and labels, which are only for pages to refer to."""
    used = {
        name
        for rendered in (timeline_html, timeline_svg)
        for names in re.findall(r'class="([^"]*)"', rendered(of_every_kind(), page_of))
        for name in names.split()
    }
    looks = set(re.findall(r"\.(tl[\w-]*)", STYLESHEET.read_text()))

    assert used - looks <= {"tl-group", "tl-depth-0"}


@both
def test_without_jinja2_one_line_says_what_to_install(
    rendered: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    rendering._environment.cache_clear()

    with pytest.raises(MissingExtraError, match=r"pip install 'eventflow-runtime\[ui\]'"):
        rendered(a_timeline(a_root()), no_page)
