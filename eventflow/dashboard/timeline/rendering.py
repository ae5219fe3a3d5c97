"""Renders timelines as HTML or SVG: every value is text, whatever it holds."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from eventflow.dashboard.timeline.drawing import PageOf, PageOfGroup, drawing_of
from eventflow.dashboard.timeline.folding import Timeline
from eventflow.errors import MissingExtraError

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["STYLESHEET", "render", "timeline_html", "timeline_svg"]

FOLDER: Final = Path(__file__).parent / "templates"

STYLESHEET: Final = FOLDER / "timeline.css"
"""The look of a timeline, in HTML as in SVG."""


def timeline_html(timeline: Timeline, page_of: PageOf, *pages_of_groups: PageOfGroup) -> str:
    """Render a timeline as a part of a page that has `STYLESHEET`; its groups may have pages too.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    return render("timeline.html.jinja", drawing=drawing_of(timeline, page_of, *pages_of_groups))


def timeline_svg(timeline: Timeline, page_of: PageOf) -> str:
    """Render a timeline as a picture of its own.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    drawing = drawing_of(timeline, page_of)

    return render("timeline.svg.jinja", drawing=drawing, style=STYLESHEET.read_text("utf-8"))


def render(template: str, folder: Path = FOLDER, **values: Any) -> str:
    """Render a template of a folder, which may include those of timelines.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    return _environment(folder).get_template(template).render(values)


@cache
def _environment(folder: Path) -> Environment:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - optional
    except ImportError as error:
        raise MissingExtraError("A page or a picture of a run", "jinja2", "ui") from error

    return Environment(
        loader=FileSystemLoader([folder, FOLDER]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
