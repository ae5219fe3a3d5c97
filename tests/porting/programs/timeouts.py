"""Timeouts: of tasks and flows, sync and async."""

import asyncio
import time

from prefect import flow, task
from prefect.exceptions import FailedRun, PrefectException
from prefect.states import StateType


@task(timeout_seconds=0.05)
def slow():
    while True:
        time.sleep(0.01)


@task(timeout_seconds=0.05)
async def slow_async():
    await asyncio.sleep(60)


@task(timeout_seconds=60)
def quick():
    return "quick"


@flow
def sync_flow():
    state = slow(return_state=True)
    print(state.name, state.type == StateType.FAILED, quick())
    try:
        slow()
    except TimeoutError:
        print("TimeoutError")


@flow(timeout_seconds=0.1)
async def async_flow():
    try:
        await slow_async()
    except TimeoutError:
        print("async TimeoutError")
    await asyncio.sleep(60)


if __name__ == "__main__":
    sync_flow()
    print(asyncio.run(async_flow(return_state=True)).name)
    print(issubclass(FailedRun, PrefectException))

# prints:
# TimedOut True quick
# TimeoutError
# async TimeoutError
# TimedOut
# True
