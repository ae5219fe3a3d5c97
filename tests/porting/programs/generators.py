"""Generators: tasks and flows that yield, sync and async."""

import asyncio
from typing import AsyncGenerator, Generator

from prefect import flow, task


@task
def count(n: int) -> Generator[int, None, None]:
    for i in range(n):
        yield i


@task
async def letters() -> AsyncGenerator[str, None]:
    for letter in "ab":
        yield letter


@flow
def numbers(n):
    for number in count(n):
        yield number * 10
    yield from count(1)


@flow
async def stream():
    async for letter in letters():
        yield letter.upper()


async def main():
    async for letter in stream():
        print(letter)


if __name__ == "__main__":
    print(list(numbers(3)))
    asyncio.run(main())

# prints:
# [0, 10, 20, 0]
# A
# B
