"""Hooks of every kind of callable, which note their calls, and runs that end with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import AsyncMock, MagicMock, Mock

import pytest

from eventflow import State, task

Call = tuple[str, str, str]


calls: list[Call] = []


def record(definition: Any, run: Any, state: State[Any]) -> None:
    calls.append((definition.name, run.task_name, state.name))


async def arecord(definition: Any, run: Any, state: State[Any]) -> None:
    await asyncio.sleep(0)
    record(definition, run, state)


class Caller:
    def __call__(self, *args: Any) -> None:
        record(*args)

    def method(self, *args: Any) -> None:
        record(*args)

    async def amethod(self, *args: Any) -> None:
        await arecord(*args)


class AsyncCaller:
    async def __call__(self, *args: Any) -> None:
        await arecord(*args)


KINDS: dict[str, Callable[..., Any]] = {
    "function": record,
    "async function": arecord,
    "lambda": lambda *args: record(*args),  # noqa: PLW0108 - the kind under test
    "lambda that gives a coroutine": lambda *args: arecord(*args),  # noqa: PLW0108 - as above
    "partial": partial(record),
    "async partial": partial(partial(arecord)),
    "method": Caller().method,
    "async method": Caller().amethod,
    "object": Caller(),
    "async object": AsyncCaller(),
    "Mock": Mock(side_effect=record),
    "MagicMock": MagicMock(side_effect=record),
    "AsyncMock": AsyncMock(side_effect=arecord),
}


def run_of(hooks: Any, way: str, *, fail: bool = False) -> None:
    """Make a task run in sync or async code that ends with these hooks."""

    def body() -> None:
        if fail:
            raise ValueError("body")

    async def abody() -> None:
        body()

    if way == "sync":
        task(name="it", hooks=hooks)(body)(return_state=True)
    else:
        it = task(name="it", hooks=hooks)(abody)

        async def main() -> None:
            await it(return_state=True)

        asyncio.run(main())


both = pytest.mark.parametrize("way", ["sync", "async"])
