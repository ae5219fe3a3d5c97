"""A bar chart as SVG, on a log scale: panels of bars, legible in light and in dark mode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

__all__ = ["Bar", "NothingToDraw", "Panel", "chart", "duration"]

WIDTH: Final = 880
LEFT: Final = 236
RIGHT: Final = 170
ROW: Final = 24
THICK: Final = 16
HEAD: Final = 96
TITLE: Final = 34
GAP: Final = 14
FOOT: Final = 36

STYLE: Final = """
  svg { font-family: system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; }
  .ground { fill: #ffffff; } .text { fill: #1f2328; } .soft { fill: #59636e; }
  .grid { stroke: #d8dee4; } .ours { fill: #0b7a75; } .peer { fill: #b6bec8; }
  .strong { font-weight: 600; }
  .rim { fill: none; stroke: #ffffff; stroke-width: 4px; stroke-linejoin: round; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; } .text { fill: #e6edf3; } .soft { fill: #9198a1; }
    .rim { stroke: #0d1117; } .grid { stroke: #2a313c; }
    .ours { fill: #2fb8ac; } .peer { fill: #59636e; }
  }
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its label, its length in seconds, and the note behind it."""

    label: str
    seconds: float
    note: str = ""
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars of the same work."""

    title: str
    bars: Sequence[Bar]


@dataclass(frozen=True, slots=True)
class _Scale:
    """A log scale over whole decades of seconds."""

    first: int
    last: int

    @classmethod
    def of(cls, panels: Sequence[Panel]) -> _Scale:
        values = [bar.seconds for panel in panels for bar in panel.bars]
        first = math.floor(math.log10(min(values)))

        return cls(first, max(math.ceil(math.log10(max(values))), first + 1))

    def x(self, seconds: float) -> float:
        """Return the position of a value; the shortest bar is still visible."""
        share = (math.log10(seconds) - self.first) / (self.last - self.first)

        return LEFT + max(share * (WIDTH - LEFT - RIGHT), 2)


class NothingToDraw(Exception):
    """There is no bar, or one of no length, which a log scale cannot show."""

    def __init__(self) -> None:
        super().__init__("A chart needs at least one bar, and each longer than nothing.")


def chart(title: str, subtitle: str, panels: Sequence[Panel]) -> str:
    """Draw a chart with a panel of bars for each work.

    Raises:
        NothingToDraw: there is no bar, or one that is not longer than nothing.
    """
    if not all(bar.seconds > 0 for panel in panels for bar in panel.bars) or not panels:
        raise NothingToDraw
    scale = _Scale.of(panels)
    height = HEAD + FOOT + sum(_height(panel) for panel in panels)
    parts = [
        _opening(title, height),
        f"<style>{STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{height}" rx="8"/>',
        _text(24, 34, title, "text strong", size=19),
        _text(24, 56, subtitle, "soft", size=13),
        *_grid(scale, height),
    ]
    top = HEAD
    for panel in panels:
        parts += _panel(panel, scale, top)
        top += _height(panel)

    return "\n".join([*parts, "</svg>"]) + "\n"


def _height(panel: Panel) -> int:
    return TITLE + ROW * len(panel.bars) + GAP


def _grid(scale: _Scale, height: int) -> list[str]:
    parts = []
    bottom = height - FOOT
    for decade in range(scale.first, scale.last + 1):
        x = scale.x(10.0**decade) if decade > scale.first else LEFT
        parts.append(f'<path class="grid" d="M{x:.1f} {HEAD}V{bottom}"/>')
        parts += [
            _text(x, y, duration(10.0**decade), "soft", size=12, anchor="middle")
            for y in (HEAD - 4, bottom + 18)
        ]

    return parts


def _panel(panel: Panel, scale: _Scale, top: int) -> list[str]:
    parts = [_text(24, top + 22, panel.title, "text strong", size=14)]
    for number, bar in enumerate(panel.bars):
        y = top + TITLE + ROW * number
        end = scale.x(bar.seconds)
        kind = "ours" if bar.ours else "peer"
        middle = y + THICK / 2 + 4.5
        label = f"{duration(bar.seconds)}{f' · {bar.note}' if bar.note else ''}"
        strong = " strong" if bar.ours else ""
        parts += [
            _text(LEFT - 10, middle, bar.label, f"text{strong}", anchor="end"),
            _bar(kind, y, end - LEFT, f"{bar.label}: {label}"),
            _text(end + 8, middle, label, f"text{strong}"),
        ]

    return parts


def _opening(title: str, height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" aria-label="{_attribute(title)}">'
    )


def _bar(kind: str, y: int, length: float, label: str) -> str:
    return (
        f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{length:.1f}" height="{THICK}" rx="2">'
        f"<title>{escape(label)}</title></rect>"
    )


def _text(
    x: float, y: float, text: str, kind: str, *, size: int = 13, anchor: str = "start"
) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
    # An outline in the background colour keeps text legible on the lines of the grid. It is a text
    # of its own, as not every viewer of SVG supports `paint-order`.
    rim = "rim strong" if "strong" in kind else "rim"

    return (
        f'<text class="{rim}" aria-hidden="true" {place}>{escape(text)}</text>'
        f'<text class="{kind}" {place}>{escape(text)}</text>'
    )


def _attribute(text: str) -> str:
    return escape(text, {'"': "&quot;"})


def duration(seconds: float) -> str:
    """Format a duration, in three digits and the unit that fits.

    >>> duration(0.0000381)
    '38.1 µs'
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        # What would be rounded up to a thousand belongs to the next unit.
        if seconds >= size * 0.9995:
            return f"{_digits(seconds / size)} {unit}"

    return f"{_digits(seconds / 1e-9)} ns"


def _digits(number: float) -> str:
    return f"{number:.0f}" if number >= 99.95 else f"{number:.3g}"
