"""Task calls, against the floor of a run: with and without hooks, journal and a flow around."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any, Final

from benchmarks import floors
from benchmarks.catalogue import BOOKS, Plan, Target, paired
from benchmarks.measure import Pair, again, on_loop
from eventflow import flow, task

__all__ = ["HOOKS", "ahook", "ahooks", "awork", "hook", "hooks", "hooks_in_words", "work"]

HOOKS: Final = (0, 1, 10)
"""With how many hooks a task is measured."""

TARGETS: Final = {
    "task.sync.0.off": (Target(1.0, issue=4),),
    "task.sync.1.off": (Target(2.0, issue=2), Target(1.5, issue=4)),
    "task.sync.1.on": (Target(2.0, issue=4),),
    "task.in-flow.0.off": (Target(1.0, issue=4),),
    "task.in-flow.1.off": (Target(2.0, issue=2), Target(1.5, issue=4)),
}
SELDOM: Final = frozenset(
    {
        *(f"task.async.{count}.on" for count in (0, 10)),
        *(f"task.{kind}.{count}.power" for kind in ("sync", "async") for count in HOOKS),
    }
    - {"task.sync.1.power"}
)
"""What is measured only by name."""


def work(number: int) -> int:
    """Do next to nothing: the body of every run."""
    return number


async def awork(number: int) -> int:
    """Do next to nothing: the body of every async run."""
    return number


def hook(definition: object, run: object, state: object) -> None:
    """Take what a hook takes."""


async def ahook(definition: object, run: object, state: object) -> None:
    """Take what a hook takes."""


def hooks(count: int) -> list[Callable[..., object]]:
    """Make hooks, each a function of its own; a single one is the floor's callback."""

    def make() -> Callable[..., object]:
        def one(definition: object, run: object, state: object) -> None:
            pass

        return one

    return [hook] if count == 1 else [make() for _ in range(count)]


def ahooks(count: int) -> list[Callable[..., object]]:
    """Make async hooks, each a function of its own; a single one is the floor's callback."""

    def make() -> Callable[..., object]:
        async def one(definition: object, run: object, state: object) -> None:
            pass

        return one

    return [ahook] if count == 1 else [make() for _ in range(count)]


def hooks_in_words(count: int) -> str:
    """Say with how many hooks something is measured."""
    return {0: "no hook", 1: "one hook"}.get(count, f"{count} hooks")


def _sync(count: int, _plan: Plan) -> Iterator[Pair]:
    """Call a task on its own; the floor has one callback, however many hooks there are."""
    called = task(on_completion=hooks(count))(work)
    yield Pair(again(called, 1), again(floors.run, work, 1, hook))


def _async(count: int, _plan: Plan) -> Iterator[Pair]:
    """Await an async task with async hooks."""
    called: Callable[[int], Any] = task(on_completion=ahooks(count))(awork)

    async def ours(loops: int) -> None:
        for _ in range(loops):
            await called(1)

    async def floor(loops: int) -> None:
        for _ in range(loops):
            await floors.arun(awork, 1, ahook)

    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        yield Pair(on_loop(loop, ours), on_loop(loop, floor))


def _in_a_flow(count: int, _plan: Plan) -> Iterator[Pair]:
    """Call a task from a flow that is running."""
    called = task(on_completion=hooks(count))(work)

    @flow(validate_parameters=False)
    def around(loops: int) -> None:
        for _ in range(loops):
            called(1)

    yield Pair(around, again(floors.run, work, 1, hook))


def _enter(kind: str, sides: Callable[[int, Plan], Iterator[Pair]], floor: str) -> None:
    for journal, count in product(BOOKS, HOOKS):
        name = f"task.{kind}.{count}.{journal}"
        paired(
            name,
            f"task call, {kind}, {hooks_in_words(count)}, journal {journal}",
            *TARGETS.get(name, ()),
            floor=floor,
            books=BOOKS[journal],
            usual=name not in SELDOM,
        )(partial(sides, count))


_enter("sync", _sync, "floor")
_enter("async", _async, "async floor")

for _journal, _count in product(("off", "on"), (0, 1)):
    _name = f"task.in-flow.{_count}.{_journal}"
    paired(
        _name,
        f"task call inside a flow, {hooks_in_words(_count)}, journal {_journal}",
        *TARGETS.get(_name, ()),
        books=BOOKS[_journal],
        usual=_journal == "off",
    )(partial(_in_a_flow, _count))
