"""Groups: many runs of one definition as one row, with exact counts of what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from eventflow.dashboard.timeline.scale import Scale
from eventflow.dashboard.timeline.spans import Span, is_failure
from eventflow.states import StateType

__all__ = ["SLOTS", "Group", "group_of", "levels_of", "most_at_once"]

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
