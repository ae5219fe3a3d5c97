"""The list of what can be measured: each workload with its name, its targets and how it is run."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from benchmarks.measure import ROUNDS, Pair, Reading, measure
from eventflow.testing import isolated

__all__ = ["Plan", "Target", "UnknownName", "Workload", "chosen", "every", "paired", "workload"]

Unit: TypeAlias = Literal["x", "MB", "KB"]
"""`x`: times the floor."""


@dataclass(frozen=True, slots=True)
class Target:
    """A value that a workload may not exceed, and the issue that sets it."""

    limit: float
    issue: int


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is to be measured; no number of rounds stands for the workload's own."""

    rounds: int | None = None
    task_runs: int = 1_000_000


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
    name: str, about: str, *targets: Target, floor: str = "floor", rounds: int = ROUNDS
) -> Callable[[Callable[[], Iterator[Pair]]], Callable[[], Iterator[Pair]]]:
    """Enter a generator that sets two sides up, yields them, and clears up.

    It runs with a bus and a home of its own.
    """

    def enter(sides: Callable[[], Iterator[Pair]]) -> Callable[[], Iterator[Pair]]:
        prepared = contextmanager(sides)

        def run(plan: Plan) -> Reading:
            with isolated(), prepared() as pair:
                return measure(pair, rounds=plan.rounds or rounds)

        workload(name, about, *targets, floor=floor)(run)
        return sides

    return enter


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
