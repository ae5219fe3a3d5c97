"""Strips: the outcome and the duration of a flow's last runs, as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from math import sqrt
from typing import Final, NamedTuple

from eventflow.client.archive import Archive
from eventflow.client.records import RunRecord
from eventflow.journal.contract import RunQuery
from eventflow.primitives.durations import in_words

__all__ = ["Strip", "strips_of"]

RUNS: Final = 30
"""How many runs a strip shows."""

FLOWS: Final = 12
"""How many flows have a strip."""

HEIGHT: Final = 22
SHORTEST: Final = 3


class Bar(NamedTuple):
    """A run in a strip: its place, its height, and its words."""

    x: int
    y: float
    height: float
    kind: str
    title: str


class Strip(NamedTuple):
    """A flow, and its last runs, the newest last."""

    name: str
    bars: Sequence[Bar]
    last: RunRecord


def strips_of(archive: Archive, names: Iterable[str], now: datetime) -> list[Strip]:
    """Return the strips of flows, in the order of their names."""
    return [
        _strip(name, runs[::-1], now)
        for name in sorted(dict.fromkeys(names))[:FLOWS]
        if (runs := archive.runs(_query(name)))
    ]


def _query(name: str) -> RunQuery:
    exact = "".join(f"[{each}]" if each in "*?[" else each for each in name)

    return RunQuery(run_type="flow", definition=exact, top=True, limit=RUNS)


def _strip(name: str, runs: Sequence[RunRecord], now: datetime) -> Strip:
    seconds = [max(0.0, ((run.end_time or now) - run.created).total_seconds()) for run in runs]
    longest = max(*seconds, 1e-6)
    first = RUNS - len(runs)

    return Strip(
        name,
        [
            _bar(first + place, run, took, longest)
            for place, (run, took) in enumerate(zip(runs, seconds, strict=True))
        ],
        runs[-1],
    )


def _bar(place: int, run: RunRecord, seconds: float, longest: float) -> Bar:
    # By the root, so that a short run beside a long one is still seen.
    height = round(SHORTEST + (HEIGHT - SHORTEST) * sqrt(seconds / longest), 1)
    title = f"{run.state_name}, {in_words(seconds)}"

    return Bar(place * 4, HEIGHT - height, height, run.state_type.value.lower(), title)
