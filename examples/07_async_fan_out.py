"""Many async tasks at once: they run on the event loop of their flow, which waits for them."""

import asyncio
import time

from eventflow import as_completed, flow, task


@task(task_run_name="ping-{number}")
async def ping(number: int) -> int:
    """Wait for an answer."""
    await asyncio.sleep(0.1)
    return number


@flow
async def fan_out(count: int) -> list[int]:
    """Ping everybody at the same time."""
    return await ping.map(range(count))


@flow
async def race() -> int:
    """Return the first answer."""
    async for first in as_completed(ping.map(range(10))):
        return await first

    raise AssertionError


if __name__ == "__main__":
    began = time.perf_counter()
    answers = asyncio.run(fan_out(200))
    seconds = time.perf_counter() - began
    print(f"{len(answers)} pings of 0.1 s each took less than 10 s in all: {seconds < 10}")
    print("first:", asyncio.run(race()))
