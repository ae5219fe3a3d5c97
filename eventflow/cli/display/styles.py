"""How states look on a terminal: their colours and marks, and words cut to fit a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rich.console import Console
from rich.text import Text

from eventflow.cli.display.tally import Failure
from eventflow.states import AnyState, StateType

__all__ = [
    "counts_line",
    "failure_line",
    "mark_of",
    "named",
    "one_line",
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


def style_of(state: str) -> str:
    """Give the colour of a state, by its name."""
    return _STYLES.get(state, "default")


def mark_of(state: AnyState, console: Console) -> str:
    """Give the mark of a final state, in letters where the output knows no other."""
    return _MARKS.get(state.type, ("•", "*"))[console.options.ascii_only]


def state_text(state: AnyState) -> Text:
    """Write a state as a word with its mark, in the colour of its name or of its type."""
    style = _STYLES.get(state.name) or style_of(state.type.capitalize())

    return Text(f"{mark_of(state, Console())} {state.name}", style)


def status_text(status: str) -> Text:
    """Write the status of a delivery, in its colour."""
    return Text(status, _STATUSES.get(status, "default"))


def named(definition: str | None, run: str | None) -> Text:
    """Write whose run it is, and which: `etl/brave-otter`."""
    return Text.assemble((definition or "?", "bold"), (f"/{run or '?'}", "cyan"))


def counts_line(counts: Mapping[str, int]) -> Text:
    """Write `12 Completed, 3 Failed`."""
    parts = [Text(f"{count:,} {name}", style_of(name)) for name, count in counts.items()]

    return Text(", ", "bright_black").join(parts)


def failure_line(failure: Failure, console: Console) -> Text:
    """Write a failed run: its mark, its name, and what it failed with."""
    again = failure.retrying
    mark = ("~" if again else "x") if console.options.ascii_only else ("↻" if again else "✗")
    name = Text(f"{mark} {failure.run}", style_of(failure.state))

    return Text.assemble(name, "  ", one_line(failure.cause))


def one_line(text: str, longest: int = 200) -> str:
    """Give the first line of a text, cut to a length."""
    lines = text.splitlines() or [""]
    cut = len(lines) > 1 or len(lines[0]) > longest

    return lines[0][:longest] + ("…" if cut else "")
