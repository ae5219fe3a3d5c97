"""Task calls, against the floor of a run: with and without hooks, journal and a flow around."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any, Final

from benchmarks import floors
from benchmarks.catalogue import MODES, Plan, Target, drained, paired
from benchmarks.measure import Pair, again, on_loop
from eventflow import Hook, flow, task

__all__ = ["HOOKS", "ahook", "ahooks", "awork", "hook", "hooks", "hooks_in_words", "work"]

HOOKS: Final = (0, 1, 10)
"""The numbers of hooks that a task is measured with."""

TARGETS: Final = {
    "task.sync.0.off": Target(1.0, "no slower than by hand"),
    "task.sync.1.off": Target(1.5, "half a floor for the hook"),
    "task.sync.1.on": Target(2.0, "one floor for hook and journal"),
    "task.in-flow.0.off": Target(1.0, "no slower than by hand"),
    "task.in-flow.1.off": Target(1.5, "half a floor for the hook"),
    "task.in-flow.1.on": Target(
        1.8 if sys.version_info < (3, 13) else 1.9, "half a floor for the hook, the rest to append"
    ),
    "task.in-flow.10.on": Target(4.0, "a third of a floor for each hook"),
}
SELDOM: Final = frozenset(
    {
        *(f"task.async.{count}.on" for count in (0, 10)),
        *(f"task.{kind}.{count}.power" for kind in ("sync", "async") for count in HOOKS),
    }
    - {"task.sync.1.power"}
)
"""The workloads that run only by name."""


def work(number: int) -> int:
    """Do next to nothing: the body of every run."""
    return number


async def awork(number: int) -> int:
    """Do next to nothing: the body of every async run."""
    return number


def hook(definition: object, run: object, state: object) -> None:
    """Do nothing with a state."""


async def ahook(definition: object, run: object, state: object) -> None:
    """Do nothing with a state."""


def hooks(count: int) -> list[Callable[..., object]]:
    """Make hooks, each a function of its own; a single one is the floor's callback."""

    def make() -> Callable[..., object]:
        def called(definition: object, run: object, state: object) -> None:
            pass

        return called

    return [hook] if count == 1 else [make() for _ in range(count)]


def ahooks(count: int) -> list[Callable[..., object]]:
    """Make async hooks, each a function of its own; a single one is the floor's callback."""

    def make() -> Callable[..., object]:
        async def called(definition: object, run: object, state: object) -> None:
            pass

        return called

    return [ahook] if count == 1 else [make() for _ in range(count)]


def hooks_in_words(count: int) -> str:
    """Describe the number of hooks."""
    return {0: "no hook", 1: "one hook"}.get(count, f"{count} hooks")


def _sync(count: int, _plan: Plan) -> Iterator[Pair]:
    """Call a task outside a flow; the floor has one callback, whatever the number of hooks."""
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


def _register(kind: str, sides: Callable[[int, Plan], Iterator[Pair]], floor: str) -> None:
    for journal, count in product(MODES, HOOKS):
        name = f"task.{kind}.{count}.{journal}"
        paired(
            name,
            f"task call, {kind}, {hooks_in_words(count)}, journal {journal}",
            floor=floor,
            target=TARGETS.get(name),
            mode=MODES[journal],
            usual=name not in SELDOM,
        )(partial(sides, count))


_register("sync", _sync, "floor")
_register("async", _async, "async floor")

for _journal, _count in product(("off", "on"), HOOKS):
    _name = f"task.in-flow.{_count}.{_journal}"
    paired(
        _name,
        f"task call inside a flow, {hooks_in_words(_count)}, journal {_journal}",
        target=TARGETS.get(_name),
        mode=MODES[_journal],
    )(partial(_in_a_flow, _count))


def _with_deadline(_plan: Plan) -> Iterator[Pair]:
    """Call a task that leaves a state in time of which a hook would be told; the floor has none."""
    plain, timed = task(work), task(hooks=[Hook(hook, state="Running", lasting=1800)])(work)

    def calls(called: Callable[[int], Any]) -> Callable[[int], None]:
        @flow(validate_parameters=False)
        def around(loops: int) -> None:
            for _ in range(loops):
                called(1)

        return around

    yield Pair(calls(timed), drained(calls(plain)))


for _journal in ("off", "on"):
    paired(
        f"task.deadline.{_journal}",
        f"task call in a flow, with a deadline, journal {_journal}",
        floor="without",
        target=Target(1.1, "a note for each run"),
        mode=MODES[_journal],
    )(_with_deadline)
