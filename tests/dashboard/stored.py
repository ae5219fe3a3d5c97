"""Runs as a journal stores them, made up for tests of timelines."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID
from xml.etree import ElementTree as ET

from hypothesis import strategies as st

from eventflow.dashboard.timeline.folding import Timeline, timeline_of
from eventflow.dashboard.timeline.spans import Span, spans_of
from eventflow.journal.rows import StoredRun, micros, moment
from tests.journal.rows import AT, SECOND

ROOT = 1
ENDING = "CFKX"

_numbers = itertools.count(1_000)


def a_run(
    events: str = "P0R1000000C2000000",
    *,
    number: int | None = None,
    parent: int | None = None,
    state: str | None = None,
    ended: float | None = None,
    created: float = 0,
    name: str | None = None,
    definition: str = "extract",
    run_type: str = "task",
) -> StoredRun:
    """Make a run with these events, see `eventflow.journal.records`; `created` is in seconds.

    Unless said, its state is the last letter of the events, and that ended it if it is a final one.
    """
    begin = AT + int(created * SECOND)
    if state is None:
        state, last = re.findall("([A-Z])([0-9]+)", events)[-1]
        ended = int(last) / SECOND if state in ENDING else None

    return StoredRun(
        id=next(_numbers) if number is None else number,
        parent=parent,
        keeper=None,
        created=begin,
        ended=None if ended is None else begin + int(ended * SECOND),
        state=state,
        sequence=0,
        acks=None,
        name=name,
        facts=None,
        events=events.encode(),
        owner="owner",
        run_type=run_type,
        definition=definition,
        reference=f"etl:{definition}",
        version=None,
        tags="[]",
        hooks="",
        global_hooks="",
    )


def a_root(seconds: float = 60, **given: Any) -> StoredRun:
    """Make the run whose timeline is asked for."""
    facts: dict[str, Any] = {
        "events": f"P0R0C{int(seconds * SECOND)}",
        "number": ROOT,
        "name": "brave-otter",
        "definition": "etl",
        "run_type": "flow",
    }

    return a_run(**(facts | given))


def calls(count: int, **given: Any) -> list[StoredRun]:
    """Make runs that the root called one after another, each for a second."""
    return [a_run("P0R0C1000000", parent=ROOT, created=place, **given) for place in range(count)]


def after(seconds: float) -> int:
    """Return the moment so long after the root was made, in microseconds."""
    return AT + int(seconds * SECOND)


def when(seconds: float) -> datetime:
    """Return that moment."""
    return moment(after(seconds))


def spans(*runs: StoredRun, now: float = 60) -> list[Span]:
    """Return the spans of runs, so long after the root was made."""
    return spans_of(runs, micros(when(now)))


def a_timeline(*runs: StoredRun, now: float = 60) -> Timeline:
    """Return the timeline of the root with these runs, so long after it was made."""
    known = runs if any(run.id == ROOT for run in runs) else (a_root(), *runs)

    return timeline_of(UUID(int=ROOT), known, when(now))


def no_page(_run_type: str, _run_id: UUID) -> None:
    """Say that a run has no page."""


HOSTILE = "<script>alert(1)</script>\"'&{{ 7 * 7 }}]]></style>\x00\x1b[31m\u202e\ufffe\ud800"
"""A name or a message that would do harm if it were taken for more than text."""


def markup(text: str) -> ET.Element:
    """Parse a picture, or a part of a page, as XML: only what is well-formed passes."""
    return ET.fromstring(text)


@st.composite
def trees(draw: st.DrawFn, most: int = 30) -> list[StoredRun]:
    """Draw a root with runs at any depth below it, of a few definitions and in all states."""
    runs = [a_root(number=ROOT)]
    for number in range(2, draw(st.integers(1, most)) + 1):
        times = sorted(draw(st.lists(st.integers(0, 9_000_000), min_size=4, max_size=4)))
        pattern = draw(st.sampled_from(["P{}", "P{}R{}", "P{}R{}C{}", "P{}R{}F{}", "P{}R{}X{}"]))
        runs.append(
            a_run(
                pattern.format(*times),
                number=number,
                parent=draw(st.integers(1, number - 1)),
                created=draw(st.integers(0, 50)),
                definition=draw(st.sampled_from(["extract", "load", "fetch"])),
                run_type=draw(st.sampled_from(["flow", "task"])),
            )
        )

    return runs


def ids(runs: Iterable[Span]) -> list[int]:
    """Return the ids of spans."""
    return [run.id for run in runs]
