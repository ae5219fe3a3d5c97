"""Styles of states and statuses: their colours and marks, and texts of one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rich.console import Console
from rich.text import Text

from eventflow.cli.display.tally import Failure
from eventflow.primitives import ids
from eventflow.primitives.escapes import CONTROLS, escaped_line
from eventflow.states import StateType
from eventflow.states.state import AnyState

__all__ = [
    "counts_line",
    "escaped_text",
    "failure_line",
    "first_line",
    "mark_of",
    "run_label",
    "state_text",
    "status_text",
    "style_of",
]

_STYLES: Final = {
    "Pending": "bright_black",
    "Running": "blue",
    "Retrying": "blue",
    "AwaitingRetry": "yellow",
    "Completed": "green",
    "Cached": "green",
    "Failed": "red",
    "TimedOut": "red",
    "Crashed": "bold red",
    "Cancelling": "yellow",
    "Cancelled": "yellow",
    "NotReady": "yellow",
    "Paused": "yellow",
    "Suspended": "yellow",
}
_STATUSES: Final = {
    "pending": "bright_black",
    "running": "blue",
    "delivered": "green",
    "failed": "yellow",
    "dead": "bold red",
}
_MARKS: Final = {
    StateType.COMPLETED: ("✓", "ok"),
    StateType.FAILED: ("✗", "x"),
    StateType.CRASHED: ("✗", "x"),
    StateType.CANCELLED: ("■", "-"),
}


def escaped_text(text: Text) -> Text:
    """Escape the control characters of a text that is shown in one line, and keep its styles."""
    bounds = [bound for found in CONTROLS.finditer(text.plain) for bound in found.span()]
    if not bounds:
        return text
    pieces = text.divide(bounds)
    for piece in pieces[1::2]:
        piece.plain = escaped_line(piece.plain)

    return Text().join(pieces)


def style_of(state: str) -> str:
    """Return the colour of a state, by its name."""
    return _STYLES.get(state, "default")


def mark_of(state: AnyState, console: Console) -> str:
    """Return the mark of a final state, in ASCII where the output has nothing else."""
    return _MARKS.get(state.type, ("•", "*"))[console.options.ascii_only]


def state_text(state: AnyState) -> Text:
    """Format a state with its mark, in the colour of its name or of its type."""
    style = _STYLES.get(state.name) or style_of(state.type.capitalize())

    return Text(f"{mark_of(state, Console())} {state.name}", style)


def status_text(status: str) -> Text:
    """Format the status of a delivery, in its colour."""
    return Text(status, _STATUSES.get(status, "default"))


def run_label(definition: str | None, run: str | None) -> Text:
    """Format the names of a definition and its run: `etl/brave-otter`, `extract-4f1`."""
    definition = definition or "?"
    label = ids.run_label(definition, run or "?")

    return Text.assemble((definition, "bold"), (label.removeprefix(definition), "cyan"))


def counts_line(counts: Mapping[str, int]) -> Text:
    """Format counts: `12 Completed, 3 Failed`."""
    parts = [Text(f"{count:,} {name}", style_of(name)) for name, count in counts.items()]

    return Text(", ", "bright_black").join(parts)


def failure_line(failure: Failure, console: Console) -> Text:
    """Format a failed run: its mark, its name, and its error."""
    again = failure.retrying
    mark = ("~" if again else "x") if console.options.ascii_only else ("↻" if again else "✗")
    name = Text(f"{mark} {failure.run}", style_of(failure.state))

    return Text.assemble(name, "  ", first_line(failure.cause))


def first_line(text: str, longest: int = 200) -> str:
    """Return the first line of a text, cut to a length, its control characters escaped."""
    lines = text.splitlines() or [""]
    cut = len(lines) > 1 or len(lines[0]) > longest

    return escaped_line(lines[0][:longest]) + ("…" if cut else "")
