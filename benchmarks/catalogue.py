"""The catalogue of workloads: each with its name, its target, and how it is run."""

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
    EVENTFLOW_LOG_LEVEL,
    Durability,
    temporary_settings,
)
from eventflow.testing import flush, isolated

__all__ = [
    "MODES",
    "OFF",
    "ON",
    "POWER",
    "JournalMode",
    "Plan",
    "Target",
    "Unit",
    "UnknownName",
    "Workload",
    "chosen",
    "drained",
    "every",
    "journalled",
    "paired",
    "stands_for",
    "workload",
]

Unit: TypeAlias = Literal["x", "MB", "KB", "B", "s", "ms"]
"""`x`: times the floor."""


@dataclass(frozen=True, slots=True)
class Target:
    """A value that a workload may not exceed, and the reason for it."""

    limit: float
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure, and how; without `rounds`, each workload has its own number.

    `task_runs` is how many a long flow makes, or a large journal holds; `crowd` bounds how many
    subscriptions, listeners, concurrent tasks or processes there are; `by` compares two sides in so
    many rounds.
    """

    rounds: int | None = None
    task_runs: int = 1_000_000
    crowd: int = 100_000
    by: Callable[[Pair, int], Reading] = measure


class JournalMode(NamedTuple):
    """The durability of the runs of a workload, and how many of them one turn makes.

    `loops` is None without a journal: then a turn lasts as long as the clock needs. With one, a
    turn ends when all its runs are in the journal, which commits groups.
    """

    durability: Durability
    loops: int | None
    rounds: int


OFF: Final = JournalMode("off", None, ROUNDS)
ON: Final = JournalMode("process", 500, 21)
POWER: Final = JournalMode("power", 100, 7)
MODES: Final = {"off": OFF, "on": ON, "power": POWER}
"""By the last part of a workload's name."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A piece of work to measure; `usual` if it is measured where no name is given."""

    name: str
    about: str
    floor: str
    unit: Unit
    target: Target | None
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
    *,
    floor: str,
    target: Target | None = None,
    unit: Unit = "x",
    usual: bool = True,
) -> Callable[[Callable[[Plan], Reading]], Callable[[Plan], Reading]]:
    """Register a function that does the measuring itself."""

    def register(run: Callable[[Plan], Reading]) -> Callable[[Plan], Reading]:
        _workloads[name] = Workload(name, about, floor, unit, target, usual, run)
        return run

    return register


def paired(
    name: str,
    about: str,
    *,
    floor: str = "floor",
    target: Target | None = None,
    rounds: int | None = None,
    mode: JournalMode = OFF,
    usual: bool = True,
) -> Callable[[Callable[[Plan], Iterator[Pair]]], Callable[[Plan], Iterator[Pair]]]:
    """Register a generator that sets up two sides, yields them, and cleans up.

    It runs with a bus and a home of its own. With a journal, our side's time ends when all of it is
    in the journal, and hooks are guarded.
    """

    def register(sides: Callable[[Plan], Iterator[Pair]]) -> Callable[[Plan], Iterator[Pair]]:
        prepared = contextmanager(sides)

        def run(plan: Plan) -> Reading:
            with isolated(), journalled(mode), prepared(plan) as pair:
                turned = pair._replace(ours=drained(pair.ours), loops=pair.loops or mode.loops)
                return plan.by(turned, plan.rounds or rounds or mode.rounds)

        workload(name, about, floor=floor, target=target, usual=usual)(run)
        return sides

    return register


@contextmanager
def journalled(mode: JournalMode) -> Iterator[None]:
    """Put the settings of a mode in force for a block; hooks are guarded if there is a journal.

    The lines that a flow run logs are left out: writing them takes as long as the terminal does.
    """
    chosen = {
        EVENTFLOW_DURABILITY: mode.durability,
        EVENTFLOW_GUARDIAN: mode.durability != "off",
        EVENTFLOW_LOG_LEVEL: "WARNING",
    }
    with temporary_settings(chosen):
        yield


def drained(side: Side) -> Side:
    """Make a side that ends when all its lines are in the journal, if there is one."""

    def turn(loops: int) -> None:
        side(loops)
        flush()

    return turn


def every() -> list[Workload]:
    """Return all workloads, in the order of their registration."""
    return list(_workloads.values())


def chosen(names: Iterable[str]) -> list[Workload]:
    """Return the workloads of these names, or groups of names; without any all usual ones.

    Raises:
        UnknownName: a name stands for none.
    """
    given = list(names)
    for name in given:
        if not any(stands_for(name, workload.name) for workload in every()):
            raise UnknownName(name, _workloads)
    if not given:
        return [workload for workload in every() if workload.usual]

    return [
        workload for workload in every() if any(stands_for(name, workload.name) for name in given)
    ]


def stands_for(given: str, name: str) -> bool:
    """Return whether a name is a given one, or is in the group of that name."""
    return name == given or name.startswith(f"{given}.")
