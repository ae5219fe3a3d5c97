"""How a timeline puts times and states: words of ticks and counts, the glyphs of states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from eventflow.dashboard.timeline.scale import Tick
from eventflow.dashboard.timeline.spans import Span, Step
from eventflow.primitives.durations import in_words
from eventflow.primitives.escapes import one_line
from eventflow.states import StateType

__all__ = ["GLYPHS", "counts_in_words", "marks", "span_in_words", "step_in_words", "tick_in_words"]

GLYPHS: Final = {
    StateType.SCHEDULED: "◷",
    StateType.PENDING: "○",
    StateType.RUNNING: "▶",
    StateType.COMPLETED: "✓",
    StateType.FAILED: "✕",
    StateType.CRASHED: "☇",
    StateType.CANCELLING: "◨",
    StateType.CANCELLED: "■",
    StateType.PAUSED: "Ⅱ",
}
"""What tells a state apart besides its colour."""

STEPS: Final = 12
"""How many steps of a run are put in words."""

_UNITS: Final = ((86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "min"))


def tick_in_words(tick: Tick) -> str:
    """Format the time of a tick: `0`, `20 ms`, `1.5 s`, `1 min 30 s`; later ones as `+5 s`."""
    return f"{'+' if tick.is_later else ''}{_time(tick.time)}"


def _time(micros: int) -> str:
    if micros == 0:
        return "0"
    if micros < 1_000_000:  # noqa: PLR2004 - a second
        return in_words(micros / 1e6)
    parts = []
    for size, unit in _UNITS:
        count, micros = divmod(micros, size)
        if count:
            parts.append(f"{count} {unit}")
    if micros:
        parts.append(f"{micros / 1_000_000:g} s")

    return " ".join(parts)


def counts_in_words(counts: Mapping[str, int]) -> str:
    """Format counts: `497 Completed, 3 Failed`."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def marks(kinds: Mapping[StateType, int]) -> str:
    """Format counts of states by their glyphs: `✓ 497 ✕ 3`."""
    return " ".join(f"{GLYPHS[kind]} {count:,}" for kind, count in kinds.items())


def step_in_words(step: Step) -> str:
    """Format a step: `Running, attempt 2: 1.2 s`."""
    attempt = f", attempt {step.attempt}" if step.is_running and step.attempt > 1 else ""

    return f"{step.state}{attempt}: {in_words((step.end - step.begin) / 1e6)}"


def span_in_words(span: Span, begin: int) -> str:
    """Tell a run in one line: when it began, its steps, how it ended and why."""
    steps = [step_in_words(step) for step in span.steps[:STEPS]]
    more = len(span.steps) - len(steps)
    told = "; ".join(steps + ([f"and {more:,} more states"] if more else []))
    after = in_words(max(0, span.begin - begin) / 1e6)
    end = f" {span.state}." if span.is_ended else f" Now {span.state}."
    cause = f" {one_line(span.cause)}" if span.cause else ""

    return f"{span.label}: made after {after}. {f'{told}.' if told else ''}{end}{cause}"
