"""The list of what can be measured: each workload with its name, its targets and how it is run."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from benchmarks.measure import ROUNDS, Pair, Reading, Side, measure
from eventflow.settings import (
    EVENTFLOW_DURABILITY,
    EVENTFLOW_GUARDIAN,
    Durability,
    temporary_settings,
)
from eventflow.testing import isolated
from eventflow.wiring import recorder

__all__ = [
    "BOOKS",
    "OFF",
    "ON",
    "POWER",
    "Books",
    "Plan",
    "Target",
    "Unit",
    "UnknownName",
    "Workload",
    "chosen",
    "drained",
    "every",
    "kept",
    "paired",
    "workload",
]

Unit: TypeAlias = Literal["x", "MB", "KB"]
"""`x`: times the floor."""


@dataclass(frozen=True, slots=True)
class Target:
    """A value that a workload may not exceed, and the issue that sets it."""

    limit: float
    issue: int


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is to be measured, and how; no number of rounds stands for the workload's own.

    `crowd` bounds how many subscriptions, listeners, concurrent tasks or processes there are;
    `events` is how many a large journal holds; `by` compares two sides in so many rounds.
    """

    rounds: int | None = None
    task_runs: int = 1_000_000
    crowd: int = 100_000
    events: int = 10_000_000
    by: Callable[[Pair, int], Reading] = measure


class Books(NamedTuple):
    """What is recorded of the runs of a workload, and how a turn is cut for that.

    `loops` is how many runs are made until all of them are in the journal, which writes groups;
    None where nothing is recorded, and a turn lasts as long as the clock needs.
    """

    durability: Durability
    loops: int | None
    rounds: int


OFF: Final = Books("off", None, ROUNDS)
ON: Final = Books("process", 500, 21)
POWER: Final = Books("power", 100, 7)
BOOKS: Final = {"off": OFF, "on": ON, "power": POWER}
"""By the last part of a workload's name."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Something to measure; `usual` says whether it is, where no name is given."""

    name: str
    about: str
    floor: str
    unit: Unit
    targets: tuple[Target, ...]
    usual: bool
    run: Callable[[Plan], Reading]


class UnknownName(Exception):
    """No workload has that name, or a name that begins with it and a dot."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        near = difflib.get_close_matches(name, list(known), n=1)
        hint = f" did you mean {near[0]!r}?" if near else ""
        super().__init__(f"There is no workload {name!r};{hint} --list shows them all.")


_workloads: Final[dict[str, Workload]] = {}


def workload(
    name: str,
    about: str,
    *targets: Target,
    floor: str,
    unit: Unit = "x",
    usual: bool = True,
) -> Callable[[Callable[[Plan], Reading]], Callable[[Plan], Reading]]:
    """Enter a function that measures on its own account."""

    def enter(run: Callable[[Plan], Reading]) -> Callable[[Plan], Reading]:
        _workloads[name] = Workload(name, about, floor, unit, targets, usual, run)
        return run

    return enter


def paired(
    name: str,
    about: str,
    *targets: Target,
    floor: str = "floor",
    rounds: int | None = None,
    books: Books = OFF,
    usual: bool = True,
) -> Callable[[Callable[[Plan], Iterator[Pair]]], Callable[[Plan], Iterator[Pair]]]:
    """Enter a generator that sets two sides up, yields them, and clears up.

    It runs with a bus and a home of its own. With a journal our side's time includes that all of
    it is in the journal, and hooks are guarded.
    """

    def enter(sides: Callable[[Plan], Iterator[Pair]]) -> Callable[[Plan], Iterator[Pair]]:
        prepared = contextmanager(sides)

        def run(plan: Plan) -> Reading:
            with isolated(), kept(books), prepared(plan) as pair:
                cut = pair._replace(ours=drained(pair.ours), loops=pair.loops or books.loops)
                return plan.by(cut, plan.rounds or rounds or books.rounds)

        workload(name, about, *targets, floor=floor, usual=usual)(run)
        return sides

    return enter


@contextmanager
def kept(books: Books) -> Iterator[None]:
    """Have the runs of a block recorded like that, and their hooks guarded if they are at all."""
    guarded = books.durability != "off"
    with temporary_settings({EVENTFLOW_DURABILITY: books.durability, EVENTFLOW_GUARDIAN: guarded}):
        yield


def drained(side: Side) -> Side:
    """Make a side that ends when all that it left is in the journal, if there is one."""

    def turn(loops: int) -> None:
        side(loops)
        account = recorder()
        assert account is None or account.flush()

    return turn


def every() -> list[Workload]:
    """Give all workloads, in the order in which they were entered."""
    return list(_workloads.values())


def chosen(names: Iterable[str]) -> list[Workload]:
    """Give the workloads of these names, or groups of names; without any all usual ones.

    Raises:
        UnknownName: a name stands for none.
    """
    wanted = list(names)
    for name in wanted:
        if not any(_stands_for(name, one.name) for one in every()):
            raise UnknownName(name, _workloads)
    if not wanted:
        return [one for one in every() if one.usual]

    return [one for one in every() if any(_stands_for(name, one.name) for name in wanted)]


def _stands_for(given: str, name: str) -> bool:
    return name == given or name.startswith(f"{given}.")
