"""The summary of a flow run that has ended: state, duration, failures, result."""

from __future__ import annotations

import reprlib
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from eventflow.cli.display.styles import (
    counts_line,
    failure_line,
    first_line,
    mark_of,
    run_label,
    style_of,
)
from eventflow.cli.display.tables import print_line
from eventflow.cli.display.tally import Tally, Totals
from eventflow.primitives.durations import in_words
from eventflow.runs.run import FlowRun
from eventflow.states.state import AnyState

__all__ = ["summarise"]

_FAILURES: Final = 10
_REPR: Final = 200


def summarise(tally: Tally, run: FlowRun, state: AnyState, console: Console) -> None:
    """Print the summary of a flow run that has ended."""
    totals = tally.totals()
    rows: list[tuple[str, Text]] = []
    if totals.tasks:
        rows.append(("tasks", counts_line(totals.tasks)))
    if totals.flows:
        rows.append(("subflows", counts_line(totals.flows)))
    rows += [("failed", line) for line in _failures(totals, console)]
    if not state.is_completed():
        rows.append(("cause", Text(first_line(_cause(state)))))
    elif state.data is not None:
        rows.append(("result", Text(_short(state.data))))
    print_line(_head(run, state, console), console)
    for name, line in _without_repeats(rows):
        print_line(Text.assemble((f"  {name:<9}", "bright_black"), line), console)


def _head(run: FlowRun, state: AnyState, console: Console) -> Text:
    style = style_of(state.name)
    parts: list[Any] = [
        (mark_of(state, console), style),
        " ",
        run_label(run.flow_name, run.name),
        "  ",
        (state.name, style),
    ]
    if run.created is not None:
        seconds = ((run.end_time or state.timestamp) - run.created).total_seconds()
        parts.append((f" in {in_words(seconds)}", "bright_black"))

    return Text.assemble(*parts)


def _failures(totals: Totals, console: Console) -> list[Text]:
    ended = [failure for failure in totals.failures if not failure.retrying]
    lines = [failure_line(failure, console) for failure in ended[:_FAILURES]]
    more = totals.failed - len(lines)
    if more > 0:
        lines.append(Text(f"… and {more:,} more", "bright_black"))

    return lines


def _cause(state: AnyState) -> str:
    if isinstance(state.data, BaseException):
        text = str(state.data)
        kind = type(state.data).__name__
        return f"{kind}: {text}" if text else kind

    cause = f" {state.error}" if state.error is not None else ""

    return f"{state.message or f'The run is {state.name}.'}{cause}"


def _short(value: object) -> str:
    shortened = reprlib.Repr()
    shortened.maxstring = shortened.maxother = _REPR
    try:
        return first_line(shortened.repr(value), _REPR)
    except Exception as error:  # noqa: BLE001 - a user's __repr__ may do anything
        return f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"


def _without_repeats(rows: list[tuple[str, Text]]) -> list[tuple[str, Text]]:
    """Name a group of rows once, on its first."""
    seen: set[str] = set()
    named = []
    for name, line in rows:
        named.append(("" if name in seen else name, line))
        seen.add(name)

    return named
