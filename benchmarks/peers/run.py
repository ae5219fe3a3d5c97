"""`python -m benchmarks --peers`: the comparison, from the names given to the files written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.page import replaced
from benchmarks.peers.comparison import Outcome, RunningSides, compared
from benchmarks.peers.environments import Environments
from benchmarks.peers.tables import drawn, markdown, plain, rows
from benchmarks.peers.works import chosen
from benchmarks.report import provenance, summary, surroundings

__all__ = ["Request", "compare_peers"]

CHART: Final = "peers.svg"


@dataclass(frozen=True, slots=True)
class Request:
    """What to compare, how often, where the environments are, and which files to write."""

    names: tuple[str, ...]
    folder: Path
    rounds: int | None = None
    json: Path | None = None
    plot: Path | None = None
    page: Path | None = None


def compare_peers(request: Request) -> bool:
    """Compare the peers and write the files; returns whether every side could do its work.

    Raises:
        UnknownPeer: there is no peer and no work of a given name.
        NoMarkers: the page has no part for the figures.
    """
    works = chosen(request.names)
    outcomes = []
    with RunningSides(Environments(request.folder)) as sides:
        for outcome in compared(works, sides, request.rounds):
            outcomes.append(outcome)
            print(*rows(outcome), sep="\n", flush=True)
    measured = surroundings()
    measured["versions"] |= sides.versions
    _write(request, outcomes, measured)

    return not any(outcome.failures for outcome in outcomes)


def _write(request: Request, outcomes: list[Outcome], measured: dict[str, Any]) -> None:
    if request.json is not None:
        data = {**measured, "peers": [plain(outcome) for outcome in outcomes]}
        request.json.write_text(json.dumps(data, indent=2) + "\n")
    under = f"{summary(measured)}. Log scale; median of all rounds; × = times eventflow's first bar"
    if request.plot is not None:
        request.plot.write_text(drawn(outcomes, under))
    if request.page is not None:
        text = replaced(request.page.read_text(), "peers", _part(outcomes, measured))
        request.page.with_name(CHART).write_text(drawn(outcomes, under))
        request.page.write_text(text)


def _part(outcomes: list[Outcome], measured: dict[str, Any]) -> str:
    picture = f"![Time for one piece of work, each peer beside eventflow]({CHART})"

    return "\n\n".join([provenance(measured), picture, markdown(outcomes)])
