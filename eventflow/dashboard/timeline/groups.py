"""Groups: many runs of one definition as one row, with exact counts of what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, TypeAlias

from eventflow.dashboard.timeline.scale import Scale
from eventflow.dashboard.timeline.spans import FAILURES, Span, is_failure
from eventflow.journal.records import state_words
from eventflow.journal.rows import TalliedRuns
from eventflow.states import StateType

__all__ = ["SLOTS", "Group", "Rest", "group_of", "levels_of", "most_at_once", "rests_of"]

SLOTS: Final = 200
"""Into how many slots of the same width the runs of a group are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Runs of one definition that are drawn as one row. None of them is left out.

    `levels` has for each slot of the width how many of them were running there on average, and
    `failures` how many failed or crashed there. `kinds` and `states` count their present states by
    type and by name. `first` is the id of the first one. `is_open` says whether the runs have rows
    of their own below; None if there are too many for that. Times are microseconds since 1970.
    """

    depth: int
    run_type: str
    definition: str
    parent: int | None
    first: int
    count: int
    kinds: dict[StateType, int]
    states: dict[str, int]
    begin: int
    end: int
    longest: Span
    at_once: int
    levels: tuple[float, ...]
    failures: tuple[int, ...]
    listed: int = 0
    is_open: bool | None = False

    @property
    def seconds(self) -> float:
        """From the first beginning to the last end."""
        return (self.end - self.begin) / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Runs of one definition that were counted, and not read: only their states are known.

    Times are microseconds since 1970.
    """

    run_type: str
    definition: str
    count: int
    kinds: dict[StateType, int]
    states: dict[str, int]
    begin: int
    end: int

    @property
    def failed(self) -> int:
        """How many of them failed or crashed."""
        return sum(self.kinds.get(kind, 0) for kind in FAILURES)


def rests_of(tallied: Iterable[TalliedRuns], read: Iterable[Span], now: int) -> list[Rest]:
    """Return what is counted beyond the runs that were read, by definition."""
    left = Counter((span.run_type, span.definition, span.kind, span.state) for span in read)
    found: dict[tuple[str, str], list[_Counted]] = {}
    for each in tallied:
        run_type = "flow" if each.run_type == "flow" else "task"
        kind, state = state_words(each.state)
        key = (run_type, each.definition or "unknown", kind, state)
        # What runs may be counted in another state than the one it was read in.
        count = each.runs - min(each.runs, left.pop(key, 0))
        if count:
            found.setdefault(key[:2], []).append((kind, state, count, each))

    return [_rest(*key, counted, now) for key, counted in found.items()]


_Counted: TypeAlias = tuple[StateType, str, int, TalliedRuns]


def _rest(run_type: str, definition: str, counted: Sequence[_Counted], now: int) -> Rest:
    kinds: Counter[StateType] = Counter()
    for kind, _, count, _ in counted:
        kinds[kind] += count
    begin = min(each.begin for *_, each in counted)
    ends = [now if each.end is None else each.end for *_, each in counted]

    return Rest(
        run_type=run_type,
        definition=definition,
        count=sum(count for _, _, count, _ in counted),
        kinds=dict(kinds.most_common()),
        states={state: count for _, state, count, _ in counted},
        begin=begin,
        end=max(begin, *ends),
    )


def group_of(
    spans: Sequence[Span],
    scale: Scale,
    depth: int,
    listed: int = 0,
    *,
    is_open: bool | None = False,
) -> Group:
    """Return the group of some runs; the first `listed` of those that failed have rows as well."""
    first = spans[0]
    parents = {span.parent for span in spans}
    names = {span.definition for span in spans}
    ran = [(step.begin, step.end) for span in spans for step in span.steps if step.is_running]
    place = scale.place

    return Group(
        depth=depth,
        run_type=first.run_type,
        definition=first.definition if len(names) == 1 else f"{len(names)} definitions",
        parent=first.parent if len(parents) == 1 else None,
        first=first.id,
        count=len(spans),
        kinds=dict(Counter(span.kind for span in spans).most_common()),
        states=dict(Counter(span.state for span in spans).most_common()),
        begin=min(span.begin for span in spans),
        end=max(span.end for span in spans),
        longest=max(spans, key=lambda span: span.end - span.begin),
        at_once=most_at_once(ran),
        levels=levels_of((place(begin), place(end)) for begin, end in ran),
        failures=_failures(spans, scale),
        listed=listed,
        is_open=is_open,
    )


def levels_of(places: Iterable[tuple[float, float]], slots: int = SLOTS) -> tuple[float, ...]:
    """Return for each slot how much of its width is covered, by all together.

    Its sum is how much all of them cover, in slots.
    """
    # How the level changes at the beginning of each slot, and what a slot has beside its level.
    changes = [0] * (slots + 1)
    extra = [0.0] * (slots + 1)
    for left, right in places:
        begin, end = left * slots, right * slots
        first, last = int(begin), int(end)
        # As if it covered all from its first slot to the one before its last.
        changes[first] += 1
        changes[last] -= 1
        extra[first] -= begin - first
        extra[last] += end - last

    return tuple(
        max(0.0, level + more)
        for level, more in zip(accumulate(changes[:-1]), extra[:-1], strict=True)
    )


def most_at_once(times: Iterable[tuple[int, int]]) -> int:
    """Return how many of some stretches of time there were at once, at most."""
    stretches = [*times]
    ends = sorted([end for _, end in stretches])
    most = ended = 0
    for begun, begin in enumerate(sorted([begin for begin, _ in stretches]), 1):
        # An end comes before a beginning at the same moment.
        while ends[ended] <= begin and ended < begun - 1:
            ended += 1
        most = max(most, begun - ended)

    return most


def _failures(spans: Iterable[Span], scale: Scale) -> tuple[int, ...]:
    found = Counter(
        min(int(scale.place(span.end) * SLOTS), SLOTS - 1) for span in spans if is_failure(span)
    )

    return tuple(found[slot] for slot in range(SLOTS))
