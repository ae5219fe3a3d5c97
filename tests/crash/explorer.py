"""The crash-point explorer: kills processes at every point, and checks the invariants afterwards.

`python -m tests.crash.explorer` explores every point of every workload: with the guardian, with
the guardian killed too, with a recovery by hand, and with that recovery killed and finished by
hand or by its own guardian. `--random N` kills processes at full speed after random moments. It
prints a table of the outcomes; the exit code is 1 if an invariant was violated.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.crash.kills import (
    COMMAND,
    EAGER,
    GUARDIAN,
    ITS_OWN,
    LAZY,
    RECOVERY,
    TWICE,
    WAYS,
    WITHIN_SECONDS,
    Case,
    Explorer,
    Outcome,
    Point,
)
from tests.crash.workloads import OTHERS, WORKLOADS

FIRST_KILLS: Final = (
    Case(TWICE, "async subflow", Point("body after", 3), LAZY),
    Case(TWICE, "submitted", Point("hook after", 3), EAGER),
    Case(TWICE, "retries of a hook", Point("paying before", 1), EAGER),
    Case(TWICE, "failing flow", Point("record.store half", 9), LAZY),
)
"""The first kills where the recovery is killed as well: in the middle of a body, of a hook, of a
hook's own transaction and of a record; with all records in a segment, or in the journal."""

POWERFUL: Final = ("flow", "async task", "retries of a hook", "submitted")
"""The workloads explored with durability `power` as well, where the publisher waits for the disk,
and with segments that cannot be mapped."""

THOROUGH: Final = ("flow", "submitted", "async subflow")
"""The workloads where the process is also killed at each page that SQLite writes."""

NOWHERE: Final = Point("", 0)
"""The point of a case that is killed nowhere."""

WHEN_GUARDED: Final = (
    *("enter after", "record after", "hook before", "hook after"),
    *("paying before", "paying after"),
)
"""The points of a recovery at which it has certainly begun to run hooks, and has a guardian."""

COMMANDS: Final = 40
"""One case in so many is recovered by the command, which takes seconds."""

AT_ONCE: Final = 4
"""How many processes at full speed share a journal."""


# -- cases ---------------------------------------------------------------------------------------


def cases(explorer: Explorer, ways: Iterable[str] = WAYS, only: Collection[str] = ()) -> list[Case]:
    """Return all cases, or those of some workloads."""
    chosen = set(ways)
    every: list[Case] = []
    if chosen - {TWICE, ITS_OWN}:
        once = list(_once(explorer, set(only or [*WORKLOADS, *OTHERS])))
        every += _in_ways(chosen, once)
    firsts = [case for case in FIRST_KILLS if not only or case.workload in only]
    if TWICE in chosen:
        every += _twice(explorer, firsts)
    if ITS_OWN in chosen:
        guarded = (replace(case, way=ITS_OWN) for case in _twice(explorer, firsts[:3]))
        every += [case for case in guarded if case.second and case.second.name in WHEN_GUARDED]

    return every


def _in_ways(ways: Collection[str], once: list[Case]) -> Iterator[Case]:
    """Yield the cases for each way of recovery."""
    by_hand = [case for case in once if case.workload in WORKLOADS]
    if GUARDIAN in ways:
        # To a guardian it makes no difference which records are committed already.
        guarded = (case for case in once if case.linger == LAZY and case.durability == "process")
        yield from (replace(case, way=GUARDIAN) for case in guarded)
    if RECOVERY in ways:
        yield from by_hand
    if COMMAND in ways:
        yield from (replace(case, way=COMMAND) for case in by_hand[::COMMANDS])


def _once(explorer: Explorer, chosen: Collection[str]) -> Iterator[Case]:
    every = [
        Case(RECOVERY, name, NOWHERE, linger)
        for name, linger in itertools.product([*WORKLOADS, *OTHERS], (LAZY, EAGER))
    ]
    every += [Case(RECOVERY, name, NOWHERE, LAZY, "power") for name in POWERFUL]
    every += [Case(RECOVERY, name, NOWHERE, LAZY, mapped=False) for name in POWERFUL]
    for case in every:
        for point in explorer.points(case) if case.workload in chosen else ():
            if _is_new(case, point):
                yield replace(case, point=point)


def _is_new(case: Case, point: Point) -> bool:
    """Return whether a point of the writer thread differs from those of other workloads."""
    if case.linger == LAZY and (case.durability, case.mapped) == ("process", True):
        # Nothing is committed before the end.
        return not point.name.startswith("sqlite") or case.workload == "flow"
    if "write to" in point.name or "CREATE" in point.name:
        return case.linger == EAGER and case.workload in THOROUGH

    return True


def _twice(explorer: Explorer, firsts: Iterable[Case]) -> Iterator[Case]:
    for first in firsts:
        for second in explorer.points_of_recovery(first):
            if "write to" not in second.name or first is FIRST_KILLS[0]:
                yield replace(first, second=second)


def spread(every: Sequence[Case], count: int) -> list[Case]:
    """Return so many of the cases, always the same ones, with every kind of point among them."""
    kinds: defaultdict[str, list[Case]] = defaultdict(list)
    for case in every:
        kinds[(case.second or case.point).name].append(case)
    turns = itertools.zip_longest(*map(_far_apart, kinds.values()))

    return [case for turn in turns for case in turn if case is not None][:count]


def _far_apart(of_a_kind: Sequence[Case]) -> Iterator[Case]:
    """Return the cases in an order in which the first few are spread over all of them."""
    count = len(of_a_kind)
    # The golden ratio: each step falls into the widest gap.
    order = sorted(range(count), key=lambda n: (n * 0.6180339887 + 0.3) % 1.0)

    return (of_a_kind[index] for index in order)


# -- outcomes ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Row:
    """One line of the table."""

    cases: int = 0
    kills: int = 0
    late: int = 0
    violations: int = 0
    total: float = 0.0
    slowest: float = 0.0

    def add(self, outcome: Outcome) -> None:
        """Add an outcome."""
        self.cases += 1
        self.kills += outcome.kills
        self.late += outcome.seconds > WITHIN_SECONDS
        self.violations += bool(outcome.violations)
        self.total += outcome.seconds
        self.slowest = max(self.slowest, outcome.seconds)

    def __str__(self) -> str:
        mean = self.total / self.cases if self.cases else 0.0

        return (
            f"{self.cases:7} {self.kills:7} {mean:9.2f} {self.slowest:9.2f} {self.late:6}"
            f" {self.violations:11}"
        )


def table(rows: dict[tuple[str, str], Row]) -> str:
    """Return the table: a line for each way of recovery and workload."""
    head = f"{'':20} {'':20} {'points':>7} {'kills':>7} {'seconds':>9} {'slowest':>9}"
    lines = [f"{head} {f'> {WITHIN_SECONDS:g} s':>6} {'violations':>11}"]
    lines += [f"{way:20} {workload:20} {row}" for (way, workload), row in rows.items()]
    total = Row(
        sum(row.cases for row in rows.values()),
        sum(row.kills for row in rows.values()),
        sum(row.late for row in rows.values()),
        sum(row.violations for row in rows.values()),
        sum(row.total for row in rows.values()),
        max((row.slowest for row in rows.values()), default=0.0),
    )

    return "\n".join([*lines, f"{'all':41} {total}"])


def explore(explorer: Explorer, every: Sequence[Case]) -> bool:
    """Run the cases, print violations and the table; returns whether there was no violation."""
    rows: defaultdict[tuple[str, str], Row] = defaultdict(Row)
    began = time.monotonic()
    for number, outcome in enumerate(explorer.all(explorer.explore, every), 1):
        assert outcome.case is not None
        rows[outcome.case.way, outcome.case.workload].add(outcome)
        _print_violations(str(outcome.case), outcome)
        if not number % 100:
            spent = time.monotonic() - began
            print(f"… {number} of {len(every)} after {spent:.0f} s", file=sys.stderr)
    print(table(rows))

    return not any(row.violations for row in rows.values())


def kill_at_random(explorer: Explorer, kills: int, seed: int) -> bool:
    """Kill so many processes after random moments; returns whether there was no violation."""
    seeds = range(seed, seed + -(-kills // AT_ONCE))
    rows: defaultdict[tuple[str, str], Row] = defaultdict(Row)
    for number, outcome in zip(seeds, explorer.random(seeds, AT_ONCE), strict=True):
        rows["random", f"{AT_ONCE} at full speed"].add(outcome)
        _print_violations(f"random kills with --random {AT_ONCE} --seed {number}", outcome)
    print(table(rows))

    return not any(row.violations for row in rows.values())


def _print_violations(what: str, outcome: Outcome) -> None:
    for violation in outcome.violations:
        print(f"✗ {what}: {violation} [{outcome.home}]", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Explore as the arguments say; returns 0 if no invariant was violated, else 1."""
    parser = argparse.ArgumentParser(prog="tests.crash.explorer", description=__doc__)
    parser.add_argument(
        "--way", action="append", choices=WAYS, help="how it is recovered; default all"
    )
    parser.add_argument(
        "--workload", action="append", choices=[*WORKLOADS, *OTHERS], help="default all"
    )
    parser.add_argument("--count", type=int, help="explore so many points only, spread evenly")
    parser.add_argument("--random", type=int, metavar="N", help="kill N at full speed instead")
    parser.add_argument("--seed", type=int, default=0, help="of the random kills")
    parser.add_argument("--workers", type=int, default=2, help="how many at once")
    parser.add_argument(
        "--within", type=float, help="count as a violation what took longer, on an idle machine"
    )
    given = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="eventflow-crash-"))
    explorer = Explorer(folder, given.workers, given.within)
    try:
        if given.random is not None:
            return 0 if kill_at_random(explorer, given.random, given.seed) else 1
        every = cases(explorer, given.way or WAYS, given.workload or ())
        chosen = every if given.count is None else spread(every, given.count)
        print(f"{len(chosen)} of {len(every)} points", file=sys.stderr)
        return 0 if explore(explorer, chosen) else 1
    finally:
        explorer.close()


if __name__ == "__main__":
    sys.exit(main())
