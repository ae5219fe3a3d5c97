"""Renders the templates: every value is text, and a name that is not given is an error."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from eventflow.dashboard.timeline.rendering import STYLESHEET
from eventflow.dashboard.timeline.words import GLYPHS
from eventflow.primitives.durations import in_words
from eventflow.primitives.ids import id_of
from eventflow.states.state import AnyState

__all__ = ["FOLDER", "asset_file", "compile_templates", "page_of", "render"]

FOLDER: Final = Path(__file__).parent

OUTCOMES: Final = {"pending": "○", "running": "▶", "delivered": "✓", "failed": "↻", "dead": "✕"}
"""The same of a delivery."""


def render(template: str, **values: Any) -> str:
    """Render a template."""
    return _environment().get_template(template).render(values)


def compile_templates() -> None:
    """Compile all templates, so that no request has to wait for that."""
    for name in _environment().list_templates():
        _environment().get_template(name)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "duration": _duration,
        "count": _count,
        "id": id_of,
        "level": logging.getLevelName,
        "first_line": _first_line,
        "glob": _glob,
        "iso": _iso,
        "pretty": _pretty,
        "shell": shlex.quote,
        "utc": _utc,
    }
    made.globals |= {
        "asset": _asset,
        "glyph": _glyph,
        "glyphs": GLYPHS,
        "outcome": OUTCOMES,
        "page_of": page_of,
    }

    return made


def asset_file(name: str) -> Path:
    """Return the file that is served under a name."""
    return STYLESHEET if name == STYLESHEET.name else FOLDER / "static" / name


@cache
def _asset(name: str) -> str:
    """Return the address of a file that may be cached for ever: it changes with the content."""
    digest = sha256(asset_file(name).read_bytes()).hexdigest()

    return f"/static/{name}?{digest[:12]}"


def _glyph(state: AnyState) -> str:
    return GLYPHS[state.type]


def page_of(run_type: str | None, run_id: UUID) -> str:
    """Return the path of a run's page, as `runtime.flow_run.ui_url` has it."""
    return f"/{run_type or 'flow'}-runs/{run_type or 'flow'}-run/{run_id}"


def _duration(value: float | timedelta | None) -> str:
    if value is None:
        return ""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value

    return in_words(max(0.0, seconds))


def _count(number: int, noun: str, several: str = "") -> str:
    """Format a number of things: `1 run`, `1,024 runs`."""
    return f"{number:,} {noun if number == 1 else several or f'{noun}s'}"


def _glob(text: str) -> str:
    """Return the pattern that only this text matches."""
    return "".join(f"[{each}]" if each in "*?[" else each for each in text)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _utc(moment: datetime) -> str:
    """Format a time for those who have no script: the page shows it in local time."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _first_line(text: object, longest: int = 240) -> str:
    lines: Sequence[str] = str(text or "").strip().splitlines() or [""]
    line = lines[0]

    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
