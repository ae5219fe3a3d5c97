"""The chart: well-formed, with every bar, and lengths that follow a log scale."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from benchmarks.plot import Bar, NothingToDraw, Panel, chart, duration

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*seconds: float) -> ET.Element:
    bars = [Bar(f"side {number} <&>", value, "3 ×") for number, value in enumerate(seconds)]

    return ET.fromstring(chart('A "title" & more', "under <it>", [Panel("a work", bars)]))


def texts(svg: ET.Element) -> list[str]:
    return [text.text or "" for text in svg.iter(f"{SVG}text") if "aria-hidden" not in text.attrib]


def bars(svg: ET.Element) -> list[float]:
    return [
        float(rect.attrib["width"])
        for rect in svg.iter(f"{SVG}rect")
        if rect.attrib["class"] != "ground"
    ]


def test_every_bar_is_there_with_its_label_and_value() -> None:
    svg = drawn(2e-6, 3e-3)
    assert len(bars(svg)) == 2
    for text in ("a work", "side 0 <&>", "2 µs · 3 ×", "side 1 <&>", "3 ms · 3 ×", "under <it>"):
        assert text in texts(svg)
    assert svg.attrib["aria-label"] == 'A "title" & more'


def test_every_text_has_an_outline_beneath_it() -> None:
    """The same text, just before it, hidden from screen readers."""
    elements = list(drawn(2e-6, 3e-3).iter(f"{SVG}text"))
    for rim, text in zip(elements[::2], elements[1::2], strict=True):
        assert rim.text == text.text
        assert rim.attrib["aria-hidden"] == "true"
        assert [rim.attrib[axis] for axis in ("x", "y")] == [
            text.attrib[axis] for axis in ("x", "y")
        ]


def test_equal_factors_are_equal_lengths() -> None:
    shortest, short, long = bars(drawn(2e-6, 2e-5, 2e-4))
    assert long - short == pytest.approx(short - shortest, abs=0.2)


def test_the_axis_names_every_decade() -> None:
    assert [text for text in texts(drawn(2e-6, 3e-4)) if text.startswith("1")] == [
        *["1 µs"] * 2,
        *["10 µs"] * 2,
        *["100 µs"] * 2,
        *["1 ms"] * 2,
    ]


def test_one_decade_is_enough_for_one_value() -> None:
    assert bars(drawn(1e-6)) == [2.0]


def test_nothing_cannot_be_drawn() -> None:
    with pytest.raises(NothingToDraw, match="at least one bar"):
        chart("title", "under", [])
    with pytest.raises(NothingToDraw, match="longer than nothing"):
        drawn(0.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2.5, "2.5 s"),
        (0.9999, "1 s"),
        (0.0123, "12.3 ms"),
        (0.000999, "999 µs"),
        (38.12e-6, "38.1 µs"),
        (99.97e-6, "100 µs"),
        (5e-9, "5 ns"),
    ],
)
def test_durations_have_three_digits_and_a_fitting_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text
