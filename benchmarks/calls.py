"""Task and flow calls, against the floor of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import floors
from benchmarks.catalogue import Target, paired
from benchmarks.measure import Pair, again, on_loop
from eventflow import flow, task

ONE_HOOK = (Target(2.0, issue=2), Target(1.5, issue=4))
NO_HOOK = (Target(1.0, issue=4),)
TASKS = 1_000


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


def ten_hooks() -> list[Callable[..., object]]:
    """Make ten hooks, each a function of its own."""

    def make() -> Callable[..., object]:
        def one(definition: object, run: object, state: object) -> None:
            pass

        return one

    return [make() for _ in range(10)]


@paired("task.sync.0", "task call, sync, no hook", *NO_HOOK)
def task_without_hooks() -> Iterator[Pair]:
    """Call a task that nobody listens to."""
    yield Pair(again(task(work), 1), again(floors.run, work, 1, hook))


@paired("task.sync.1", "task call, sync, one hook", *ONE_HOOK)
def task_with_one_hook() -> Iterator[Pair]:
    """Call a task with one hook, on its own."""
    yield Pair(again(task(on_completion=[hook])(work), 1), again(floors.run, work, 1, hook))


@paired("task.sync.10", "task call, sync, ten hooks")
def task_with_ten_hooks() -> Iterator[Pair]:
    """Call a task with ten hooks; the floor still calls one."""
    called = task(on_completion=ten_hooks())(work)
    yield Pair(again(called, 1), again(floors.run, work, 1, hook))


def _inside_a_flow(body: Callable[[int], object]) -> Pair:
    @flow(validate_parameters=False)
    def around(loops: int) -> None:
        for _ in range(loops):
            body(1)

    return Pair(around, again(floors.run, work, 1, hook))


@paired("task.in-flow.0", "task call inside a flow, no hook", *NO_HOOK)
def task_inside_a_flow_without_hooks() -> Iterator[Pair]:
    """Call a task that nobody listens to, from a flow that is running."""
    yield _inside_a_flow(task(work))


@paired("task.in-flow.1", "task call inside a flow, one hook", *ONE_HOOK)
def task_inside_a_flow() -> Iterator[Pair]:
    """Call a task with one hook, from a flow that is running."""
    yield _inside_a_flow(task(on_completion=[hook])(work))


def _async(called: Callable[[int], Any]) -> Iterator[Pair]:
    async def ours(loops: int) -> None:
        for _ in range(loops):
            await called(1)

    async def floor(loops: int) -> None:
        for _ in range(loops):
            await floors.arun(awork, 1, ahook)

    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        yield Pair(on_loop(loop, ours), on_loop(loop, floor))


@paired("task.async.0", "task call, async, no hook", floor="async floor")
def async_task_without_hooks() -> Iterator[Pair]:
    """Await an async task that nobody listens to."""
    yield from _async(task(awork))


@paired("task.async.1", "task call, async, one async hook", floor="async floor")
def async_task_with_one_hook() -> Iterator[Pair]:
    """Await an async task with one async hook."""
    yield from _async(task(on_completion=[ahook])(awork))


@paired("flow.empty", "flow call, empty, one hook")
def empty_flow() -> Iterator[Pair]:
    """Call a flow that does nothing; its parameter is validated."""
    yield Pair(again(flow(on_completion=[hook])(work), 1), again(floors.run, work, 1, hook))


@paired("flow.1000", "flow with 1,000 task calls, one hook each", floor="1,001 floors", rounds=15)
def flow_of_tasks() -> Iterator[Pair]:
    """Call a flow that calls a thousand tasks."""
    called = task(on_completion=[hook])(work)

    @flow(on_completion=[hook])
    def many(count: int) -> None:
        for number in range(count):
            called(number)

    def by_hand(count: int) -> None:
        for number in range(count):
            floors.run(work, number, hook)

    yield Pair(again(many, TASKS), again(floors.run, by_hand, TASKS, hook), loops=1)
