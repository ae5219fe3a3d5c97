"""What is shown of the contest: rows for a terminal, Markdown, plain data, and the chart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from benchmarks.peers.contest import Outcome
from benchmarks.peers.works import SIDES
from benchmarks.plot import Bar, Panel, chart, duration

__all__ = ["drawn", "markdown", "plain", "rows"]

HEAD: Final = ("side", "one piece of work", "times eventflow", "quartiles")


def rows(outcome: Outcome) -> Iterator[str]:
    """Give the lines for a terminal: the work, its sides, and what was to be reached."""
    yield f"{outcome.work.name}: {outcome.work.about}"
    for label, piece, ratio, spread in _table(outcome):
        yield f"  {label:30} {piece:>9} {ratio:>10}  {spread}".rstrip()
    for wanted, measured, verdict in _verdicts(outcome):
        yield f"  {wanted}: {measured}, {verdict}"


def markdown(outcomes: Sequence[Outcome]) -> str:
    """Give a table of all works, and one of what was to be reached."""
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
    """Give the cells of each side; the others are compared to the first of our own."""
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
    for one in outcome.work.targets:
        reading = outcome.ratio(one.ours, one.peer)
        peer, ours = outcome.work.label(one.peer), outcome.work.label(one.ours)
        wanted = f"{peer} ≥ {one.least:g} × {ours}"
        if reading is None:
            yield wanted, "", "not measured"
        else:
            reached = "reached" if reading.value >= one.least else "missed"
            yield wanted, _times(reading.value), reached


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} ×" if ratio >= 9.95 else f"{ratio:.2g} ×"


def plain(outcome: Outcome) -> dict[str, Any]:
    """Give everything that was measured of a work, as plain data."""
    return {
        "name": outcome.work.name,
        "about": outcome.work.about,
        "nanoseconds": dict(outcome.times),
        "failures": dict(outcome.failures),
        "targets": [
            {
                "ours": one.ours,
                "peer": one.peer,
                "least": one.least,
                "ratio": reading.value if (reading := outcome.ratio(one.ours, one.peer)) else None,
                "spread": reading.spread if reading else None,
                "reached": bool(reading and reading.value >= one.least),
            }
            for one in outcome.work.targets
        ],
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
