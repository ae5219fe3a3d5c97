"""Subflows: a flow that calls flows, sync and async, and passes states on."""

import asyncio

from prefect import flow, task
from prefect.context import get_run_context, tags


@task
def add(x, y):
    return x + y


@flow(name="Sum up")
def total(numbers: list[int]) -> int:
    """A flow in a flow."""
    result = 0
    for number in numbers:
        result = add(result, number)
    return result


@flow
async def compare(a: int, b: int) -> str:
    await asyncio.sleep(0)
    return "<" if a < b else ">="


@flow
def fails():
    raise ValueError("in the subflow")


@flow
async def parent():
    with tags("nightly"):
        a, b = total([1, 2, 3]), total([4])
    sign = await compare(a, b)
    state = fails(return_state=True)
    print(a, sign, b, state.type.value, get_run_context().flow.name)
    return state.is_failed()


if __name__ == "__main__":
    print(asyncio.run(parent()))

# prints:
# 6 >= 4 FAILED parent
# True
