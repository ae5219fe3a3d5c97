"""The command line: `python -m benchmarks [NAME...] [--peers] [--json FILE] [--plot FILE.svg]`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks import (
    calls,
    dashboard,
    flowruns,
    growing,
    journalling,
    large,
    processes,
    publishing,
    submitted,
    subscriptions,
)
from benchmarks.catalogue import Plan, UnknownName, Workload, chosen, every
from benchmarks.check import NotCountableError, check, record
from benchmarks.measure import Reading
from benchmarks.page import NoMarkers, replaced
from benchmarks.peers.environments import default_folder
from benchmarks.peers.run import Request, compare_peers
from benchmarks.peers.works import UnknownPeer
from benchmarks.plot import NothingToDraw
from benchmarks.report import (
    HEAD,
    document,
    drawn,
    line,
    markdown,
    provenance,
    summary,
    surroundings,
)

__all__ = ["WORK", "main"]

WORK = (
    calls,
    flowruns,
    submitted,
    publishing,
    subscriptions,
    journalling,
    processes,
    growing,
    large,
    dashboard,
)
"""The modules that register workloads when they are imported."""

PAGE: Final = Path(__file__).with_name("README.md")
PART: Final = "floors"
OWN_PARTS: Final = ("dashboard",)
"""The groups that have a part of the page of their own, a table without a chart."""
CHART: Final = "floors.svg"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments ask for; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.peers:
        return _peers(options)
    if options.list:
        for workload in every():
            note = "" if workload.usual else " (only by name)"
            print(f"{workload.name:26} {workload.about}{note}")
        return 0
    if options.check or options.record:
        return _guard(options)

    return _measure(options)


def _measure(options: argparse.Namespace) -> int:
    try:
        workloads = chosen(options.names)
        if options.readme:
            replaced(PAGE.read_text(), _part(options), "")
    except (UnknownName, NoMarkers) as error:
        print(error, file=sys.stderr)
        return 2
    plan = Plan(options.rounds, options.task_runs)
    results = []
    print(HEAD)
    for workload in workloads:
        reading = workload.run(plan)
        results.append((workload, reading))
        print(line(workload, reading), flush=True)
    try:
        _write(options, results)
    except NothingToDraw as error:
        print(error, file=sys.stderr)
        return 1

    return 0


def _write(options: argparse.Namespace, results: list[tuple[Workload, Reading]]) -> None:
    measured = surroundings()
    under = f"{summary(measured)}. Log scale; median of all rounds; × = times its floor"
    if options.json is not None:
        options.json.write_text(json.dumps(document(results), indent=2) + "\n")
    if options.plot is not None:
        options.plot.write_text(drawn(results, under))
    if options.readme and _part(options) != PART:
        part = "\n\n".join([provenance(measured), markdown(results)])
        PAGE.write_text(replaced(PAGE.read_text(), _part(options), part))
    elif options.readme:
        picture = f"![What each piece of work takes, and how often its floor that is]({CHART})"
        part = "\n\n".join([provenance(measured), picture, markdown(results)])
        PAGE.with_name(CHART).write_text(drawn(results, under))
        PAGE.write_text(replaced(PAGE.read_text(), PART, part))


def _part(options: argparse.Namespace) -> str:
    """Return the part of the page that shows what was asked for."""
    return options.names[0] if options.names in [[name] for name in OWN_PARTS] else PART


def _guard(options: argparse.Namespace) -> int:
    try:
        if options.record:
            record(only=options.names)
            return 0
        regressions = check()
    except NotCountableError as error:
        print(error, file=sys.stderr)
        return 2
    for regression in regressions:
        print(regression, file=sys.stderr)

    return 1 if regressions else 0


def _peers(options: argparse.Namespace) -> int:
    request = Request(
        names=tuple(options.names),
        folder=options.peers_dir or default_folder(),
        rounds=options.rounds,
        json=options.json,
        plot=options.plot,
        page=PAGE if options.readme else None,
    )
    try:
        return 0 if compare_peers(request) else 1
    except (UnknownPeer, NoMarkers, NothingToDraw) as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="What eventflow costs, as ratios to a hand-written floor of the same run.",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="a workload, or a group such as 'task'"
    )
    parser.add_argument("--list", action="store_true", help="list the workloads and stop")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured there")
    parser.add_argument(
        "--check",
        action="store_true",
        help="compare some ratios, in instructions, with the recorded ones; fails if one is worse",
    )
    parser.add_argument(
        "--record", action="store_true", help="record these ratios anew, or those that are named"
    )
    parser.add_argument("--rounds", type=_positive, metavar="N", help="how often to compare")
    parser.add_argument(
        "--task-runs",
        type=_positive,
        default=Plan().task_runs,
        metavar="N",
        help="how many runs a long flow makes, or a large journal holds (default: %(default)s)",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw a bar chart there")
    parser.add_argument(
        "--readme", action="store_true", help="put table and chart into benchmarks/README.md"
    )
    _add_peers(parser.add_argument_group("beside its peers"))

    return parser


def _add_peers(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--peers",
        action="store_true",
        help="compare with other systems; NAME is then one of them, or a piece of their work",
    )
    group.add_argument(
        "--peers-dir",
        type=Path,
        metavar="DIR",
        help="where their environments are kept (default: in the user's cache folder)",
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, but is {number}")

    return number


if __name__ == "__main__":
    # SIGTERM as Ctrl-C, so that the processes started by a measurement end with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
