"""`python -m benchmarks --peers`: the contest from the names that are given to what is written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.page import replaced
from benchmarks.peers.contest import Field, Outcome, compared
from benchmarks.peers.environments import Environments
from benchmarks.peers.tables import drawn, markdown, plain, rows
from benchmarks.peers.works import chosen
from benchmarks.report import provenance, summary, surroundings

__all__ = ["Wanted", "held"]

CHART: Final = "peers.svg"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be compared, how often, where the environments are, and what is to be written."""

    names: tuple[str, ...]
    folder: Path
    rounds: int | None = None
    json: Path | None = None
    plot: Path | None = None
    page: Path | None = None


def held(wanted: Wanted) -> bool:
    """Hold the contest and write what is wanted; says whether every side could do its work.

    Raises:
        UnknownPeer: there is no peer and no work of a given name.
        NoMarkers: the page has no part for the figures.
    """
    works = chosen(wanted.names)
    outcomes = []
    with Field(Environments(wanted.folder)) as field:
        for outcome in compared(works, field, wanted.rounds):
            outcomes.append(outcome)
            print(*rows(outcome), sep="\n", flush=True)
    measured = surroundings()
    measured["versions"] |= field.versions
    _write(wanted, outcomes, measured)

    return not any(outcome.failures for outcome in outcomes)


def _write(wanted: Wanted, outcomes: list[Outcome], measured: dict[str, Any]) -> None:
    if wanted.json is not None:
        data = {**measured, "peers": [plain(outcome) for outcome in outcomes]}
        wanted.json.write_text(json.dumps(data, indent=2) + "\n")
    under = f"{summary(measured)}. Log scale; median of all rounds; × = times eventflow's first bar"
    if wanted.plot is not None:
        wanted.plot.write_text(drawn(outcomes, under))
    if wanted.page is not None:
        text = replaced(wanted.page.read_text(), "peers", _part(outcomes, measured))
        wanted.page.with_name(CHART).write_text(drawn(outcomes, under))
        wanted.page.write_text(text)


def _part(outcomes: list[Outcome], measured: dict[str, Any]) -> str:
    picture = f"![Time for one piece of work, each peer beside eventflow]({CHART})"

    return "\n\n".join([provenance(measured), picture, markdown(outcomes)])
