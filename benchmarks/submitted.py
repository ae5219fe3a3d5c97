"""Submitted tasks, against a bare thread pool and against bare asyncio tasks."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks import floors
from benchmarks.calls import ahook, awork, hook, work
from benchmarks.catalogue import Plan, Target, paired, workload
from benchmarks.measure import Pair, Reading, on_loop
from eventflow import flow, task
from eventflow.runners import ThreadPoolTaskRunner
from eventflow.testing import isolated

WORKERS = 4
IN_POOL = 500
AT_ONCE = 10_000


@paired(
    "submit.sync",
    "sync task submitted to the pool, one hook",
    Target(1.5, issue=4),
    floor="bare submit + floor",
    rounds=15,
)
def sync_tasks() -> Iterator[Pair]:
    """Submit sync tasks and wait for all their results."""
    called = task(on_completion=[hook])(work)

    @flow(validate_parameters=False, task_runner=ThreadPoolTaskRunner(WORKERS))
    def ours(count: int) -> None:
        for future in [called.submit(1) for _ in range(count)]:
            future.result()

    with ThreadPoolExecutor(WORKERS) as pool:

        def floor(count: int) -> None:
            for future in [pool.submit(floors.run, work, 1, hook) for _ in range(count)]:
                future.result()

        yield Pair(ours, floor, loops=IN_POOL)


@paired(
    "submit.async",
    "10,000 async tasks submitted at once, one hook",
    # 60 % of the throughput.
    Target(1.67, issue=4),
    floor="asyncio tasks + floor",
    rounds=5,
)
def async_tasks() -> Iterator[Pair]:
    """Submit async tasks on the flow's own loop, all before the first begins."""
    called = task(on_completion=[ahook])(awork)

    @flow(validate_parameters=False)
    async def ours(count: int) -> None:
        for future in [called.submit(1) for _ in range(count)]:
            await future

    async def floor(count: int) -> None:
        work = [asyncio.create_task(floors.arun(awork, 1, ahook)) for _ in range(count)]
        for one in work:
            await one

    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        yield Pair(on_loop(loop, ours), on_loop(loop, floor), loops=AT_ONCE)


@workload(
    "submit.async.memory",
    "memory of one of 10,000 async tasks that wait",
    Target(6.0, issue=4),
    floor="(absolute)",
    unit="KB",
)
def memory_of_async_tasks(plan: Plan) -> Reading:
    """Let so many submitted tasks wait in their bodies, and see what each holds."""
    count = min(AT_ONCE, plan.task_runs)
    with isolated():
        asyncio.run(_held_by_tasks(10))
        held = asyncio.run(_held_by_tasks(count))

    return Reading((held / count / 1e3,))


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
    """Give how many bytes are held after the work that were not before."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        await work()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
