"""Async: tasks of one flow at the same time, gathered."""

import asyncio

from prefect import flow, get_run_logger, task

arrived = asyncio.Event()


@task(retries=1)
async def first() -> str:
    await arrived.wait()  # until the second has begun
    return "first"


@task
async def second() -> str:
    arrived.set()
    return "second"


@flow(log_prints=True)
async def both() -> list[str]:
    get_run_logger().warning("both at once")
    return await asyncio.gather(first(), second())


if __name__ == "__main__":
    print(asyncio.run(both()))

# prints:
# ['first', 'second']
