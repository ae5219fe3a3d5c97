"""Submitted tasks, against a bare thread pool and against bare asyncio tasks."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from typing import Any, Final

from benchmarks import floors
from benchmarks.calls import (
    HOOKS,
    ahook,
    ahooks,
    awork,
    hook,
    hooks,
    hooks_in_words,
    work,
)
from benchmarks.catalogue import (
    MODES,
    POWER,
    JournalMode,
    Plan,
    Target,
    journalled,
    paired,
    workload,
)
from benchmarks.measure import Pair, Reading, on_loop
from eventflow import flow, task
from eventflow.runners import ThreadPoolTaskRunner
from eventflow.testing import isolated

__all__ = ["AT_ONCE", "all_at_once"]

WORKERS: Final = 4
IN_POOL: Final = 500
AT_ONCE: Final = 10_000

TARGETS: Final = {
    "submit.sync.1.off": Target(1.5, "half a bare submission for run and future"),
    "submit.sync.1.on": Target(2.0, "one bare submission for run, future and journal"),
    "submit.async.1.off": Target(1.67, "60 % of the tasks a second"),
}
USUAL: Final = frozenset(
    f"submit.{kind}.{which}" for kind in ("sync", "async") for which in ("0.off", "1.off", "1.on")
)


def _sync(count: int, mode: JournalMode, _plan: Plan) -> Iterator[Pair]:
    """Submit sync tasks and wait for all their results."""
    called = task(on_completion=hooks(count))(work)

    @flow(validate_parameters=False, task_runner=ThreadPoolTaskRunner(WORKERS))
    def ours(loops: int) -> None:
        for future in [called.submit(1) for _ in range(loops)]:
            future.result()

    with ThreadPoolExecutor(WORKERS) as pool:

        def floor(loops: int) -> None:
            for future in [pool.submit(floors.run, work, 1, hook) for _ in range(loops)]:
                future.result()

        yield Pair(ours, floor, mode.loops or IN_POOL)


def all_at_once(count: int) -> tuple[Callable[[int], Any], Callable[[int], Any]]:
    """Return a flow that submits async tasks with so many hooks, and the same by hand."""
    called = task(on_completion=ahooks(count))(awork)

    @flow(validate_parameters=False)
    async def ours(loops: int) -> None:
        for future in [called.submit(1) for _ in range(loops)]:
            await future

    async def floor(loops: int) -> None:
        work = [asyncio.create_task(floors.arun(awork, 1, ahook)) for _ in range(loops)]
        for each in work:
            await each

    return ours, floor


def _async(count: int, mode: JournalMode, plan: Plan) -> Iterator[Pair]:
    """Submit async tasks on the flow's own loop, all before the first begins."""
    ours, floor = all_at_once(count)
    loops = POWER.loops if mode is POWER else min(AT_ONCE, plan.crowd)
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        yield Pair(on_loop(loop, ours), on_loop(loop, floor), loops)


def _register(
    kind: str,
    sides: Callable[[int, JournalMode, Plan], Iterator[Pair]],
    about: str,
    floor: str,
    rounds: int,
) -> None:
    for journal, count in product(MODES, HOOKS):
        name = f"submit.{kind}.{count}.{journal}"
        paired(
            name,
            f"{about}, {hooks_in_words(count)}, journal {journal}",
            floor=floor,
            target=TARGETS.get(name),
            rounds=rounds,
            mode=MODES[journal],
            usual=name in USUAL,
        )(partial(sides, count, MODES[journal]))


_register("sync", _sync, "sync task in the pool", "bare submit + floor", 15)
_register("async", _async, "10,000 async tasks at once", "asyncio tasks + floor", 5)


def _memory(mode: JournalMode, plan: Plan) -> Reading:
    """Measure the memory of each of many submitted tasks that wait in their bodies."""
    count = min(AT_ONCE, plan.crowd)
    with isolated(), journalled(mode):
        asyncio.run(_held_by_tasks(10))
        held = asyncio.run(_held_by_tasks(count))

    return Reading((held / count / 1e3,))


for _journal in ("off", "on"):
    workload(
        f"submit.memory.{_journal}",
        f"memory of one of 10,000 waiting tasks, journal {_journal}",
        floor="(absolute)",
        target=Target(6.0, "a million tasks wait in 6 GB"),
        unit="KB",
    )(partial(_memory, MODES[_journal]))


async def _held_by_tasks(count: int) -> int:
    all_wait, go_on = asyncio.Event(), asyncio.Event()
    waiting = 0

    @task(on_completion=[ahook])
    async def wait(number: int) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == count:
            all_wait.set()
        await go_on.wait()

    @flow
    async def hold() -> int:
        futures: list[Any] = []

        async def submit_all() -> None:
            futures.extend(wait.submit(number) for number in range(count))
            await all_wait.wait()

        held = await _traced(submit_all)
        go_on.set()
        return held

    return await hold()


async def _traced(work: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Return how many more bytes are allocated after the work than before."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        await work()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
