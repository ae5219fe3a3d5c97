"""A run as a trace for https://ui.perfetto.dev: the JSON of Chrome's Trace Event Format.

Each flow run is a process; its lanes are threads, since the slices of one thread must nest. A run
is a slice, with its states as slices in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

from eventflow.dashboard.export.lanes import lanes_of
from eventflow.dashboard.timeline.folding import Timeline
from eventflow.dashboard.timeline.spans import Span, Step
from eventflow.journal.rows import moment
from eventflow.primitives.escapes import escaped_line

__all__ = ["trace_json", "trace_of"]

Event = dict[str, Any]

TEXT: Final = 1_000
"""How many characters of a cause are kept."""


def trace_json(timeline: Timeline) -> str:
    """Return the trace of a run and of all that it called, as JSON."""
    return json.dumps(trace_of(timeline), separators=(",", ":"))


def trace_of(timeline: Timeline) -> dict[str, Any]:
    """Return that trace. Times are microseconds since the run was made."""
    root = timeline.root

    return {
        "traceEvents": [*_events(timeline)],
        "displayTimeUnit": "ms",
        "otherData": {
            "run": escaped_line(root.label),
            "id": _id(root.id),
            "state": escaped_line(root.state),
            "began": moment(timeline.scale.begin).isoformat(),
        },
    }


def _events(timeline: Timeline) -> Iterator[Event]:
    # As in a real system: 0 is no thread of a program, no two processes share one, and the id of a
    # process is that of its first thread.
    thread = 1
    for place, (top, spans) in enumerate(_processes(timeline).items()):
        label, process = escaped_line(top.label), thread
        yield _named("process_name", process, process, name=label)
        yield _named("process_sort_index", process, process, sort_index=place)
        lanes = [0, *(lane + 1 for lane in lanes_of([(each.begin, each.end) for each in spans]))]
        for lane in range(max(lanes) + 1):
            name = "run" if lane == 0 else f"lane {lane}"
            yield _named("thread_name", process, thread + lane, name=name)
            yield _named("thread_sort_index", process, thread + lane, sort_index=lane)
        for span, lane in zip([top, *spans], lanes, strict=True):
            yield from _slices(span, timeline.scale.begin, process, thread + lane)
        thread += max(lanes) + 1


def _processes(timeline: Timeline) -> dict[Span, list[Span]]:
    """Return the flow runs, each with the task runs in it; the root is one, whatever it is."""
    spans = {span.id: span for span in timeline.spans}
    within: dict[int, Span] = {timeline.root.id: timeline.root}
    processes: dict[Span, list[Span]] = {timeline.root: []}
    # A run is made before all that it calls, and its id sorts before theirs but for other clocks.
    for span in sorted(timeline.spans, key=lambda each: (each.begin, each.id)):
        path = []
        at = span
        while at.id not in within:
            path.append(at)
            if at.run_type == "flow":
                within[at.id] = at
                processes[at] = []
                break
            at = spans[at.parent or 0]
        for each in path:
            within[each.id] = within[at.id]
        if within[span.id] is not span:
            processes[within[span.id]].append(span)

    return processes


def _named(fact: str, process: int, thread: int, **given: Any) -> Event:
    return {"ph": "M", "name": fact, "pid": process, "tid": thread, "args": given}


def _slices(span: Span, begin: int, process: int, thread: int) -> Iterator[Event]:
    facts = {"id": _id(span.id), "state": escaped_line(span.state), "attempts": span.attempts}
    if span.cause:
        facts["cause"] = escaped_line(span.cause[:TEXT])
    yield {
        "ph": "X",
        "name": escaped_line(span.label),
        "cat": span.run_type,
        "ts": span.begin - begin,
        "dur": span.end - span.begin,
        "pid": process,
        "tid": thread,
        "args": facts,
    }
    for step in span.steps:
        if step.end > step.begin:
            yield {
                "ph": "X",
                "name": _name(step),
                "cat": "state",
                "ts": step.begin - begin,
                "dur": step.end - step.begin,
                "pid": process,
                "tid": thread,
                "args": {},
            }


def _name(step: Step) -> str:
    state = escaped_line(step.state)

    return f"{state}, attempt {step.attempt}" if step.is_running else state


def _id(number: int) -> str:
    return str(UUID(int=number))
