"""taskiq's side: tasks kicked to the broker in memory, with a middleware in the place of a hook."""

from __future__ import annotations

import asyncio
from time import perf_counter_ns

from taskiq import InMemoryBroker, TaskiqMessage, TaskiqMiddleware, TaskiqResult

from benchmarks.peers.serving import on_loop, serve


class AfterEach(TaskiqMiddleware):
    """Is called by taskiq after each task, as a hook would be."""

    def post_execute(self, message: TaskiqMessage, result: TaskiqResult[int]) -> None:
        """Do nothing with it."""


broker = InMemoryBroker(max_stored_results=-1).with_middlewares(AfterEach())


@broker.task
async def work(number: int) -> int:
    """Do next to nothing."""
    return number


async def submitted(count: int) -> int:
    """Kick so many tasks, let the broker finish them, and take their results."""
    begin = perf_counter_ns()
    tasks = [await work.kiq(number) for number in range(count)]
    await broker.wait_all()
    for kicked in tasks:
        await kicked.wait_result()

    return perf_counter_ns() - begin


if __name__ == "__main__":
    with asyncio.Runner() as runner:
        runner.run(broker.startup())
        serve({"task.submitted": on_loop(runner, submitted)})
        runner.run(broker.shutdown())
