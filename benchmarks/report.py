"""Reports of the readings: tables for people, a JSON document for programs, and the chart."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import groupby
from typing import Any, Final

from benchmarks.catalogue import Target, Workload
from benchmarks.measure import Reading
from benchmarks.plot import Bar, Panel, chart, duration

__all__ = [
    "HEAD",
    "document",
    "drawn",
    "line",
    "markdown",
    "provenance",
    "summary",
    "surroundings",
    "verdict",
]

PACKAGES: Final = (
    "eventflow-runtime",
    "pydantic",
    "pydantic-core",
    "anyio",
    "blinker",
    "structlog",
)

HEAD: Final = (
    f"{'name':26} {'work':48} {'floor':32} {'measured':>9}  {'quartiles':>13}  "
    f"{'ours':>9} {'floor':>9}  target"
)


def verdict(target: Target, value: float) -> str:
    """Return whether a target was reached."""
    reached = "ok" if value <= target.limit else "miss"

    return f"<= {target.limit:g} ({target.reason}) {reached}"


def line(workload: Workload, reading: Reading) -> str:
    """Return one row of the table."""
    low, high = reading.spread
    target = "" if workload.target is None else verdict(workload.target, reading.value)

    return (
        f"{workload.name:26} {workload.about:48} {workload.floor:32} "
        f"{f'{reading.value:.2f} {workload.unit}':>9}  {f'{low:.2f} - {high:.2f}':>13}  "
        f"{_micros(reading.ours)} {_micros(reading.floor)}  {target}"
    ).rstrip()


def _micros(seconds: float | None) -> str:
    return " " * 9 if seconds is None else f"{f'{seconds * 1e6:.3g} us':>9}"


def document(results: Iterable[tuple[Workload, Reading]]) -> dict[str, Any]:
    """Return all readings, with the machine and the versions, as plain data."""
    return {
        **surroundings(),
        "results": [_plain(workload, reading) for workload, reading in results],
    }


def surroundings() -> dict[str, Any]:
    """Return the date, the machine and the versions of a measurement."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "processors": os.cpu_count(),
            "architecture": platform.machine(),
            "system": platform.platform(),
            "python": sys.version.split()[0],
        },
        "versions": {package: version(package) for package in PACKAGES},
    }


def summary(measured: Mapping[str, Any]) -> str:
    """Describe the date and the machine of a measurement in one line."""
    machine = measured["machine"]

    return (
        f"{machine['processors']} processors, {machine['architecture']}, "
        f"Python {machine['python']}, {measured['date'][:10]}"
    )


def provenance(measured: Mapping[str, Any]) -> str:
    """Describe the machine and the versions of a measurement."""
    versions = ", ".join(
        f"{package} {version}" for package, version in measured["versions"].items()
    )

    return f"Measured on {summary(measured)}, with {versions}."


def markdown(results: Iterable[tuple[Workload, Reading]]) -> str:
    """Return the table as Markdown."""
    head = ("name", "work", "floor", "measured", "quartiles", "one piece of work", "target", "")
    lines = [f"| {' | '.join(head)} |", "|---|---|---|--:|--:|--:|--:|---|"]
    lines += [f"| {' | '.join(_cells(*result))} |" for result in results]

    return "\n".join(lines)


def _cells(workload: Workload, reading: Reading) -> Sequence[str]:
    low, high = reading.spread

    return (
        *(f"`{workload.name}`", workload.about, workload.floor),
        *(_amount(workload, reading.value), f"{low:.2f} to {high:.2f}"),
        "" if reading.ours is None else duration(reading.ours),
        *_judged(workload, reading.value),
    )


def _judged(workload: Workload, value: float) -> tuple[str, str]:
    if workload.target is None:
        return "", ""
    limit = workload.target.limit

    return f"≤ {_amount(workload, limit, 'g')}", "reached" if value <= limit else "missed"


def _amount(workload: Workload, value: float, form: str = ".2f") -> str:
    return f"{value:{form}} {'×' if workload.unit == 'x' else workload.unit}"


def drawn(results: Iterable[tuple[Workload, Reading]], under: str) -> str:
    """Draw the chart: a panel for each group of workloads, with their ratios to their floors.

    Raises:
        NothingToDraw: nothing that takes time was measured.
    """
    timed = [(workload, reading) for workload, reading in results if reading.ours]
    panels = [
        Panel(
            group,
            [
                Bar(workload.name, reading.ours or 0.0, f"{reading.value:.2f} ×", ours=True)
                for workload, reading in group_results
            ],
        )
        for group, group_results in groupby(timed, lambda result: result[0].name.partition(".")[0])
    ]

    return chart("What eventflow takes: shorter is better", under, panels)


def _plain(workload: Workload, reading: Reading) -> dict[str, Any]:
    return {
        "name": workload.name,
        "about": workload.about,
        "floor": workload.floor,
        "unit": workload.unit,
        "value": reading.value,
        "spread": reading.spread,
        "values": reading.values,
        "seconds": {"ours": reading.ours, "floor": reading.floor},
        "target": _reached(workload.target, reading.value),
    }


def _reached(target: Target | None, value: float) -> dict[str, Any] | None:
    if target is None:
        return None

    return {"limit": target.limit, "reason": target.reason, "reached": value <= target.limit}
