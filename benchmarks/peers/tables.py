"""Reports of the comparison: rows for a terminal, Markdown, plain data, and the chart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from benchmarks.peers.comparison import Outcome
from benchmarks.peers.works import SIDES, Target
from benchmarks.plot import Bar, Panel, chart, duration

__all__ = ["drawn", "markdown", "plain", "rows"]

HEAD: Final = ("side", "one piece of work", "times eventflow", "quartiles")


def rows(outcome: Outcome) -> Iterator[str]:
    """Yield the lines for a terminal: the work, its sides, and its targets."""
    yield f"{outcome.work.name}: {outcome.work.about}"
    for label, piece, ratio, spread in _table(outcome):
        yield f"  {label:30} {piece:>9} {ratio:>10}  {spread}".rstrip()
    for target, measured, verdict in _verdicts(outcome):
        yield f"  {target}: {measured}, {verdict}"


def markdown(outcomes: Sequence[Outcome]) -> str:
    """Return a table of all works, and one of their targets."""
    lines = [f"| work | {' | '.join(HEAD)} |", "|---|---|--:|--:|--:|"]
    for outcome in outcomes:
        for number, cells in enumerate(_table(outcome)):
            work = "" if number else f"**{outcome.work.about}**"
            lines.append(f"| {work} | {' | '.join(cells)} |")
    lines += ["", "| work | target | measured | |", "|---|---|--:|---|"]
    for outcome in outcomes:
        lines += [
            f"| {outcome.work.about} | {' | '.join(verdict)} |" for verdict in _verdicts(outcome)
        ]

    return "\n".join(lines)


def _table(outcome: Outcome) -> Iterator[tuple[str, str, str, str]]:
    """Yield the cells of each side; the others are compared with our first."""
    first = outcome.work.sides[0]
    for name in outcome.work.sides:
        label = outcome.work.label(name)
        if name not in outcome.times:
            yield label, "failed", "", ""
            continue
        piece = duration(outcome.seconds(name))
        reading = outcome.ratio(first, name)
        if name == first or reading is None:
            yield label, piece, "", ""
        else:
            low, high = reading.spread
            yield label, piece, _times(reading.value), f"{_times(low)} to {_times(high)}"


def _verdicts(outcome: Outcome) -> Iterator[tuple[str, str, str]]:
    for target in outcome.work.targets:
        reading = outcome.ratio(target.ours, target.peer)
        peer, ours = outcome.work.label(target.peer), outcome.work.label(target.ours)
        text = f"{peer} ≥ {target.least:g} × {ours}"
        if reading is None:
            yield text, "", "not measured"
        else:
            reached = "reached" if reading.value >= target.least else "missed"
            yield text, _times(reading.value), reached


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} ×" if ratio >= 9.95 else f"{ratio:.2g} ×"


def plain(outcome: Outcome) -> dict[str, Any]:
    """Return everything that was measured of a work, as plain data."""
    return {
        "name": outcome.work.name,
        "about": outcome.work.about,
        "nanoseconds": dict(outcome.times),
        "failures": dict(outcome.failures),
        "targets": [_plain_target(outcome, target) for target in outcome.work.targets],
    }


def _plain_target(outcome: Outcome, target: Target) -> dict[str, Any]:
    reading = outcome.ratio(target.ours, target.peer)

    return {
        "ours": target.ours,
        "peer": target.peer,
        "least": target.least,
        "ratio": reading.value if reading else None,
        "spread": reading.spread if reading else None,
        "reached": bool(reading and reading.value >= target.least),
    }


def drawn(outcomes: Sequence[Outcome], under: str) -> str:
    """Draw the chart: a panel for each work, our own sides first."""
    panels = [
        Panel(outcome.work.about, bars) for outcome in outcomes if (bars := list(_bars(outcome)))
    ]

    return chart("Time for one piece of work: shorter is better", under, panels)


def _bars(outcome: Outcome) -> Iterator[Bar]:
    first = outcome.work.sides[0]
    for name in outcome.times:
        side = SIDES[name]
        reading = None if side.ours else outcome.ratio(first, name)
        note = "" if reading is None else _times(reading.value)
        yield Bar(outcome.work.label(name), outcome.seconds(name), note, side.ours)
