"""The rows of a timeline: a bar for each run, and groups where there would be too many bars.

Runs of the same definition that the same run called are folded from a number on, and so is all that
they called. A group counts each of its runs; nothing is sampled.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final, TypeAlias
from uuid import UUID

from eventflow.dashboard.timeline.groups import Group, Rest, group_of, rests_of
from eventflow.dashboard.timeline.scale import Scale, scale_of
from eventflow.dashboard.timeline.spans import Span, is_failure, spans_of
from eventflow.journal.rows import StoredRun, TalliedRuns, micros
from eventflow.states import StateType

__all__ = ["Bar", "Row", "Timeline", "timeline_of"]

FOLDED_FROM: Final = 12
"""How many runs of one definition, called by the same run, are folded at least."""

BARS: Final = 2_000
"""From how many bars on there are only groups; also how many groups there are at most."""

LISTED: Final = 5
"""How many of the failed runs of a group have a bar of their own."""


OPENED: Final = 500
"""How many runs of a group that is opened have a bar; the others are the next group."""

DOUBTFUL: Final = 60_000_000
"""From how many microseconds on it is not taken for granted that a run that crashed ran so long."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A run that has a row of its own.

    `is_caller` says that it called others, `is_listed` that it is one of the group above.
    """

    depth: int
    span: Span
    is_caller: bool = False
    is_listed: bool = False


Row: TypeAlias = Bar | Group


@dataclass(frozen=True, slots=True)
class Timeline:
    """A run and what it called: the rows in their order, and the scale that they are drawn to.

    `failures` are the runs below it that failed or crashed, the innermost and earliest first;
    `spans` are all runs but the `rests`, which were only counted.
    """

    root: Span
    rows: tuple[Row, ...]
    scale: Scale
    spans: tuple[Span, ...]
    failures: tuple[Span, ...]
    rests: tuple[Rest, ...] = ()

    @property
    def count(self) -> int:
        """How many runs there are, with the root."""
        return len(self.spans) + sum(rest.count for rest in self.rests)

    @property
    def failed(self) -> int:
        """How many runs below the root failed or crashed."""
        return len(self.failures) + sum(rest.failed for rest in self.rests)


def timeline_of(
    root: UUID,
    runs: Iterable[StoredRun],
    now: datetime,
    opened: Collection[int] = (),
    tallied: Iterable[TalliedRuns] = (),
) -> Timeline:
    """Return the timeline of a run; `runs` is what `Journal.tree` returns of it.

    `opened` are the groups whose runs have bars, by the `first` of each. Where `runs` are not all,
    `tallied` counts all.

    Raises:
        KeyError: the run is not among them.
    """
    spans = spans_of(runs, micros(now))
    top = {span.id: span for span in spans}[root.int]
    below: dict[int, list[Span]] = {}
    for span in sorted(spans, key=lambda each: (each.begin, each.id)):
        if span.parent is not None and span.id != top.id:
            below.setdefault(span.parent, []).append(span)
    rests = rests_of(tallied, spans, micros(now))
    counted = [(rest.begin, rest.end) for rest in rests]
    stretches = [*((span.begin, span.end) for span in spans), *counted]
    scale = scale_of(
        min(begin for begin, _ in stretches),
        max(end for _, end in stretches),
        [*_busy(spans, below), *counted],
    )
    failed = [span for span in spans if span.id != top.id and is_failure(span)]

    return Timeline(
        root=top,
        rows=_rows(top, below, scale, opened),
        scale=scale,
        spans=tuple(spans),
        failures=tuple(sorted(failed, key=lambda span: (span.end, span.id))),
        rests=tuple(rests),
    )


def _busy(spans: Iterable[Span], below: Mapping[int, Sequence[Span]]) -> Iterator[tuple[int, int]]:
    """Yield from when to when a run was executed that called no other.

    One that crashed ended when that was noticed: long after, how long it was executed is not known.
    """
    for span in spans:
        if span.id not in below:
            for step in span.steps:
                is_late = step.then is StateType.CRASHED and step.end - step.begin > DOUBTFUL
                if step.is_running and not is_late:
                    yield step.begin, step.end


def _rows(
    top: Span, below: Mapping[int, Sequence[Span]], scale: Scale, opened: Collection[int]
) -> tuple[Row, ...]:
    """Return rows of all runs: as many bars as possible, and no more rows than there may be."""
    for least in (FOLDED_FROM, 1):
        rows = [*islice(_flat(_Folding(below, scale, least, opened).unfolded(top, 0)), BARS + 1)]
        if len(rows) <= BARS:
            return tuple(rows)
    others = sorted(
        (span for spans in below.values() for span in spans), key=lambda span: (span.begin, span.id)
    )
    sets = _sets(others)
    if len(sets) >= BARS:
        sets = {("", ""): others}

    groups = (group_of(spans, scale, 1, is_open=None) for spans in sets.values())

    return (Bar(0, top, is_caller=True), *groups)


Sets: TypeAlias = dict[tuple[str, str], list[Span]]
Rows: TypeAlias = Iterator["Row | Rows"]


def _sets(spans: Iterable[Span]) -> Sets:
    """Return some runs by their type and definition."""
    sets: Sets = {}
    for span in spans:
        sets.setdefault((span.run_type, span.definition), []).append(span)

    return sets


def _flat(rows: Rows) -> Iterator[Row]:
    """Yield rows, and those of iterators among them: runs may call each other at any depth."""
    stack = [rows]
    while stack:
        for each in stack[-1]:
            if not isinstance(each, Bar | Group):
                stack.append(each)
                break
            yield each
        else:
            stack.pop()


class _Folding:
    """Makes rows of runs; those of the same definition are folded from so many on."""

    def __init__(
        self,
        below: Mapping[int, Sequence[Span]],
        scale: Scale,
        least: int,
        opened: Collection[int],
    ) -> None:
        self._opened = opened
        self._below = below
        self._scale = scale
        self._least = least

    def unfolded(self, span: Span, depth: int) -> Rows:
        """Yield the bar of a run, and the rows of what it called, in the order of time."""
        called = self._below.get(span.id, ())
        yield Bar(depth, span, is_caller=bool(called))
        sets = _sets(called)
        for child in called:
            same = sets[child.run_type, child.definition]
            if len(same) < self._least:
                yield self.unfolded(child, depth + 1)
            elif child is same[0]:
                yield self.folded(same, depth + 1)

    def folded(self, spans: Sequence[Span], depth: int) -> Rows:
        """Yield the group of some runs, and those of all that they called, or, opened, its runs."""
        if spans[0].id in self._opened:
            yield from self._opened_rows(spans, depth)
            return
        failed = [span for span in spans if is_failure(span)] if self._least > 1 else []
        listed = failed[:LISTED]
        yield group_of(spans, self._scale, depth, len(listed))
        for span in listed:
            yield Bar(depth + 1, span, is_listed=True)
        called = (child for span in spans for child in self._below.get(span.id, ()))
        for same in _sets(called).values():
            yield self.folded(same, depth + 1)

    def _opened_rows(self, spans: Sequence[Span], depth: int) -> Rows:
        yield group_of(spans, self._scale, depth, is_open=True)
        for span in spans[:OPENED]:
            yield self.unfolded(span, depth + 1)
        if spans[OPENED:]:
            yield self.folded(spans[OPENED:], depth)
