"""The drawing of a timeline: the rows, shapes and texts that the templates put in their place.

Places are percentages of the width, so that a drawing fits a phone as well as a wide screen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, TypeAlias
from uuid import UUID

from eventflow.dashboard.timeline.folding import Bar, Timeline
from eventflow.dashboard.timeline.groups import SLOTS, Group, Rest, levels_of
from eventflow.dashboard.timeline.scale import Scale
from eventflow.dashboard.timeline.spans import Span, Step
from eventflow.dashboard.timeline.words import (
    GLYPHS,
    counts_in_words,
    marks,
    span_in_words,
    step_in_words,
    tick_in_words,
)
from eventflow.primitives.durations import in_words
from eventflow.primitives.escapes import escaped_line, one_line
from eventflow.primitives.ids import id_of
from eventflow.states import StateType

__all__ = ["GROUP", "Drawing", "Line", "PageOf", "PageOfGroup", "Shape", "drawing_of"]

PageOf: TypeAlias = Callable[[str, UUID], str | None]
"""Returns the address of the page of a run, by its type and id; None if it has none."""

PageOfGroup: TypeAlias = Callable[[str, bool], str | None]
"""Returns an address at which a group is opened, or, if it is open, is not; by its key."""

NARROWEST: Final = 0.25
"""How wide a shape is at least, in percent: else it could not be seen."""

SKIPPED: Final = 0.05
"""From which width on a wait is drawn."""

NUMBERED: Final = 2.5
"""From which width on an attempt bears its number."""

MANY: Final = 100
"""From how many steps on the steps of a run are drawn as levels, as those of a group."""

GROUP: Final = "g"
"""Begins the key of a group, before the id of its first run."""

DEEPEST: Final = 8
"""How far rows are indented."""

APART: Final = 7.0
"""How far apart the words of two ticks are at least, in percent."""

_WAITS: Final = frozenset(
    {StateType.SCHEDULED, StateType.PENDING, StateType.PAUSED, StateType.CANCELLING}
)
_OUTCOMES: Final = {
    StateType.SCHEDULED: "failed",
    StateType.FAILED: "failed",
    StateType.CRASHED: "crashed",
    StateType.CANCELLING: "cancelled",
    StateType.CANCELLED: "cancelled",
    StateType.COMPLETED: "completed",
    StateType.PAUSED: "halted",
}
"""How an attempt is drawn, by the state that followed."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A step of a run: what it looks like, its place, and what is written in and about it."""

    look: str
    left: str
    width: str
    title: str
    text: str = ""
    middle: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A row, drawn. `levels` is the path of how many ran, `failed` where some of them failed."""

    key: str
    page: str | None
    depth: int
    name: str
    rest: str
    look: str
    status: str
    took: str
    story: str
    shapes: tuple[Shape, ...] = ()
    levels: str = ""
    failed: tuple[tuple[str, int], ...] = ()
    is_group: bool = False
    is_open: bool = False
    is_caller: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A timeline, drawn: texts, and places in percent.

    `ticks` have a place, and words unless the tick before is too near; `folds` a left, a right,
    a width, a middle and words.
    """

    label: str
    look: str
    summary: str
    cause: str
    lines: tuple[Line, ...]
    ticks: tuple[tuple[str, str], ...]
    folds: tuple[tuple[str, str, str, str, str], ...]


def _no_page(_key: str, _is_open: bool) -> None:  # noqa: FBT001 - as it is called
    """Say that a group cannot be opened: in a file, where nothing can be asked for."""


def drawing_of(
    timeline: Timeline, page_of: PageOf, page_of_group: PageOfGroup = _no_page
) -> Drawing:
    """Draw a timeline, with the addresses of the runs' pages, and those that open groups."""
    root = timeline.root
    scale = timeline.scale

    return Drawing(
        label=escaped_line(root.label),
        look=root.kind.lower(),
        summary=_summary(timeline),
        cause=one_line(root.cause or ""),
        lines=(
            *(
                _bar(row, scale, page_of)
                if isinstance(row, Bar)
                else _group(row, scale, page_of_group)
                for row in timeline.rows
            ),
            *(_rest(rest, scale) for rest in timeline.rests),
        ),
        ticks=tuple(_ticks(scale)),
        folds=tuple(
            (
                _percent(fold.left),
                _percent(fold.right),
                _percent(fold.right - fold.left),
                _percent((fold.left + fold.right) / 2),
                in_words(fold.seconds),
            )
            for fold in scale.folds
        ),
    )


def _summary(timeline: Timeline) -> str:
    root = timeline.root
    verb = "after" if root.is_ended else "for"
    below = timeline.count - 1
    called = f"; {below:,} run{'' if below == 1 else 's'} called" if below else ""
    failed = f", {timeline.failed:,} of them failed" if timeline.failed else ""
    gaps = len(timeline.scale.folds)
    folded = f"; {gaps} long gap{'' if gaps == 1 else 's'} folded" if gaps else ""
    state = f"{GLYPHS[root.kind]} {escaped_line(root.state)}"

    return f"{state} {verb} {in_words(root.seconds)}{called}{failed}{folded}"


def _ticks(scale: Scale) -> Iterator[tuple[str, str]]:
    last = -APART
    for tick in scale.ticks():
        has_room = tick.place * 100 - last >= APART and (tick.time > 0 or not tick.is_later)
        last = tick.place * 100 if has_room else last
        yield _percent(tick.place), tick_in_words(tick) if has_room else ""


def _percent(place: float) -> str:
    return f"{place * 100:.3f}".rstrip("0").rstrip(".")


# -- rows ----------------------------------------------------------------------------------------


def _bar(bar: Bar, scale: Scale, page_of: PageOf) -> Line:
    span = bar.span
    is_long = len(span.steps) > MANY
    label = escaped_line(span.label)
    name = escaped_line(span.definition)
    took = in_words(span.seconds)
    tries = f", {span.attempts:,} attempts" if span.attempts > 1 else ""

    return Line(
        key=f"{span.id:032x}",
        page=page_of(span.run_type, id_of(span.id)),
        depth=min(bar.depth, DEEPEST),
        name=name,
        rest=label.removeprefix(name),
        look=span.kind.lower(),
        status=f"{GLYPHS[span.kind]} {escaped_line(span.state)}",
        took=f"{took}{tries}",
        story=escaped_line(span_in_words(span, scale.begin)),
        is_caller=bar.is_caller,
        shapes=() if is_long else tuple(_shapes(span, scale)),
        levels=_path(_levels(span, scale)) if is_long else "",
    )


def _levels(span: Span, scale: Scale) -> Sequence[float]:
    return levels_of(
        (scale.place(step.begin), scale.place(step.end)) for step in span.steps if step.is_running
    )


def _shapes(span: Span, scale: Scale) -> Iterator[Shape]:
    drawn = 0
    for step in span.steps:
        left, right = (100 * scale.place(moment) for moment in (step.begin, step.end))
        if step.kind not in _WAITS or right - left >= SKIPPED:
            number = step.attempt if step.is_running and step.attempt > 1 else 0
            yield _shape(_look(step), left, right, step_in_words(step), number)
            drawn += 1
    if not drawn:
        # It only entered its state, as one whose result was cached.
        place = 100 * scale.place(span.begin)
        yield _shape(span.kind.lower(), place, place, span.state)


def _shape(look: str, left: float, right: float, title: str, number: int = 0) -> Shape:
    width = max(right - left, NARROWEST)
    left = min(left, 100 - width)

    return Shape(
        look=look,
        left=f"{left:.3f}",
        width=f"{width:.3f}",
        title=escaped_line(title),
        text=str(number) if number and width >= NUMBERED else "",
        middle=f"{left + width / 2:.3f}",
    )


def _look(step: Step) -> str:
    if not step.is_running:
        return step.kind.lower()

    return "running" if step.then is None else _OUTCOMES.get(step.then, "running")


def _group(group: Group, scale: Scale, page_of_group: PageOfGroup) -> Line:
    failed = sum(group.failures)
    longest = group.longest
    begin = in_words(max(0, group.begin - scale.begin) / 1e6)
    story = (
        f"{group.count:,} runs of {group.definition}: {counts_in_words(group.states)}."
        f" The first was made after {begin}; up to {group.at_once:,} ran at once. The longest,"
        f" {longest.label}, took {in_words(longest.seconds)}."
    )
    if group.listed < failed and group.listed:
        story += f" The first {group.listed} of {failed:,} that failed have a row below."

    key = f"{GROUP}{group.first:032x}"

    return Line(
        key=key,
        page=None if group.is_open is None else page_of_group(key, group.is_open),
        depth=min(group.depth, DEEPEST),
        name=escaped_line(group.definition),
        rest=f" × {group.count:,}",
        look="failed" if failed else next(iter(group.kinds)).lower(),
        status=marks(group.kinds),
        took=in_words(group.seconds),
        story=escaped_line(story),
        levels=_path(group.levels),
        failed=tuple(
            (_percent(slot / SLOTS), count) for slot, count in enumerate(group.failures) if count
        ),
        is_group=True,
        is_open=bool(group.is_open),
    )


def _rest(rest: Rest, scale: Scale) -> Line:
    begin, end = scale.place(rest.begin), scale.place(rest.end)
    seconds = in_words((rest.end - rest.begin) / 1e6)
    story = (
        f"{rest.count:,} more runs of {rest.definition}, which are only counted:"
        f" {counts_in_words(rest.states)}, within {seconds}."
    )

    name = f"{rest.run_type} {rest.definition}".encode("utf-8", "replace")

    return Line(
        key=f"r{blake2b(name, digest_size=8).hexdigest()}",
        page=None,
        depth=1,
        name=escaped_line(rest.definition),
        rest=f" × {rest.count:,} more",
        look="failed" if rest.failed else next(iter(rest.kinds)).lower(),
        status=marks(rest.kinds),
        took=seconds,
        story=escaped_line(story),
        levels=_path(levels_of([(begin, max(end, begin))])),
        is_group=True,
    )


HEIGHT: Final = 100
"""How high the highest level is in a path."""


def _path(levels: Sequence[float]) -> str:
    """Return the path of the levels, in a box as wide as there are slots and HEIGHT high."""
    highest = max(levels, default=0.0)
    if not highest:
        return ""
    parts = [f"M0 {HEIGHT}"]
    before = HEIGHT
    for slot, level in enumerate(levels):
        # What is more than nothing is seen.
        top = HEIGHT - (max(round(HEIGHT * level / highest), 4) if level > 0 else 0)
        if top != before:
            parts.append(f"H{slot}V{top}")
            before = top
    parts.append(f"H{len(levels)}V{HEIGHT}Z")

    return "".join(parts)
