"""A run as one page of HTML that needs nothing else: no script, no request, no server."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from eventflow.client.archive import RunTransition
from eventflow.dashboard.export.story import Story
from eventflow.dashboard.timeline.folding import Bar, Timeline
from eventflow.dashboard.timeline.groups import Group
from eventflow.dashboard.timeline.rendering import STYLESHEET, render, timeline_html
from eventflow.dashboard.timeline.spans import Span
from eventflow.dashboard.timeline.words import GLYPHS, counts_in_words
from eventflow.primitives.durations import in_words
from eventflow.primitives.escapes import escaped, escaped_line
from eventflow.primitives.ids import id_of

__all__ = ["run_page"]

FOLDER: Final = Path(__file__).parent / "templates"

TOLD: Final = 20
"""How many of the failed runs below are told with their error; the others are counted."""

OUTCOMES: Final = {"pending": "○", "running": "▶", "delivered": "✓", "failed": "↻", "dead": "✕"}
"""What tells the status of a delivery apart besides its colour."""


@dataclass(frozen=True, slots=True)
class _Told:
    """A run of the tree, or a group of them, in words."""

    key: str
    depth: int
    look: str
    state: str
    name: str
    took: str
    cause: str


def run_page(story: Story, address: str) -> str:
    """Render the page of a run; `address` is that of its live page.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    run, timeline = story.run, story.timeline
    known = {row.span.id for row in timeline.rows if isinstance(row, Bar)}

    def anchor(_run_type: str, run_id: UUID) -> str | None:
        return f"#run-{run_id.hex}" if run_id.int in known else None

    return render(
        "run.html.jinja",
        FOLDER,
        address=address,
        cause=_lines(story.cause),
        deliveries=[*_deliveries(story)],
        error=story.error,
        events=[*_events(story)],
        facts=_facts(story),
        failures=[_told(0, span) for span in timeline.failures[:TOLD]],
        glyph=GLYPHS[run.state.type],
        label=escaped_line(timeline.root.label),
        logs=[*_logs(story)],
        look=run.state.type.lower(),
        more_logs=story.more_logs,
        more_failures=len(timeline.failures) - TOLD,
        now=_utc(story.now),
        parameters=_pretty(run.parameters),
        state=escaped_line(run.state.name),
        style=(FOLDER / "run.css").read_text("utf-8") + STYLESHEET.read_text("utf-8"),
        timeline=timeline_html(timeline, anchor),
        took=in_words(timeline.root.seconds),
        traceback=_lines(story.error.traceback if story.error else None),
        tree=[*_tree(timeline)],
    )


def _facts(story: Story) -> dict[str, str]:
    run, owner = story.run, story.owner
    executed = run.total_run_time.total_seconds()
    version = f", version {run.version}" if run.version else ""
    reason = f", {owner.reason}" if owner and owner.reason != "ended" else ""
    facts = {
        "Id": str(run.id),
        run.run_type.capitalize(): f"{run.definition}{version}",
        "Tags": ", ".join(run.tags),
        "Made": _utc(run.created),
        "Ended": _utc(run.end_time),
        "Overdue": f"since {_utc(run.overdue)}" if run.overdue else "",
        "Attempts": f"{run.run_count} of {run.attempts}"
        if run.attempts > 1
        else str(run.run_count),
        "In its body": in_words(executed) if run.run_count else "",
        "Called by": str(run.parent_run_id or ""),
        "Executed by": f"process {owner.pid} on {owner.host}" if owner else run.owner,
        "Process ended": f"{_utc(owner.ended)}{reason}" if owner and owner.ended else "",
        "Program": " ".join(owner.argv) if owner else "",
    }

    return {name: escaped_line(value) for name, value in facts.items() if value}


def _events(story: Story) -> Iterator[dict[str, str]]:
    for event in story.events:
        yield {
            "look": event.to_state.type.lower(),
            "before": escaped_line(event.from_state.name) if event.from_state else "",
            "state": f"{GLYPHS[event.to_state.type]} {escaped_line(event.to_state.name)}",
            "at": _utc(event.occurred),
            "iso": event.occurred.isoformat(),
            "after": in_words(max(event.duration or 0.0, 0.0)) if event.from_state else "",
            "attempt": str(event.run_count or ""),
            "cause": _lines(_cause(event)),
        }


def _cause(event: RunTransition) -> str:
    return str(event.to_state.error or event.to_state.message or "")


def _deliveries(story: Story) -> Iterator[dict[str, str]]:
    for each in story.deliveries:
        trace = getattr(each.error, "traceback", "")
        yield {
            "id": str(each.id),
            "status": f"{OUTCOMES[each.status]} {each.status}",
            "look": str(each.status),
            "hook": escaped_line(each.hook),
            "state": escaped_line(each.occasion),
            "attempts": str(each.attempts),
            "at": _utc(each.updated),
            "due": _utc(each.due),
            "error": _lines(str(each.error or "")),
            "traceback": _lines(trace),
        }


def _logs(story: Story) -> Iterator[dict[str, Any]]:
    names = {span.id: span.label for span in story.timeline.spans}
    for line in story.logs:
        others = line.run_id != story.run.id
        yield {
            "at": _utc(line.timestamp),
            "error": _lines(line.traceback),
            "left_out": line.left_out,
            "level": escaped_line(line.level_name),
            "look": _look_of(line.level),
            "message": _lines(line.message),
            "run": escaped_line(names.get(line.run_id.int, "")) if others else "",
        }


def _look_of(level: int) -> str:
    if level >= logging.ERROR:
        return "failed"

    return "scheduled" if level >= logging.WARNING else "pending"


def _tree(timeline: Timeline) -> Iterator[_Told]:
    for row in timeline.rows:
        yield _told(row.depth, row.span) if isinstance(row, Bar) else _told_group(row)


def _told(depth: int, span: Span) -> _Told:
    return _Told(
        key=id_of(span.id).hex,
        depth=min(depth, 8),
        look=span.kind.lower(),
        state=f"{GLYPHS[span.kind]} {escaped_line(span.state)}",
        name=escaped_line(span.label),
        took=in_words(span.seconds),
        cause=_lines(span.cause),
    )


def _told_group(group: Group) -> _Told:
    return _Told(
        key=f"g{group.first:032x}",
        depth=min(group.depth, 8),
        look="failed" if any(group.failures) else "completed",
        state=counts_in_words({escaped_line(name): count for name, count in group.states.items()}),
        name=f"{escaped_line(group.definition)} × {group.count:,}",
        took=in_words(group.seconds),
        cause="",
    )


def _lines(text: str | None) -> str:
    return escaped(text or "")


def _utc(moment: datetime | None) -> str:
    if moment is None:
        return ""
    utc = moment.astimezone(UTC)

    return f"{utc:%Y-%m-%d %H:%M:%S}.{utc.microsecond // 1000:03} UTC"


def _pretty(value: Any) -> str:
    if value in (None, {}, []):
        return ""

    return escaped(json.dumps(value, indent=2, ensure_ascii=False))
