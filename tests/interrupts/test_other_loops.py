"""Event loops that are not asyncio's: what is async says so, at once."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trio

from eventflow import as_completed, bus, flow, task
from eventflow.errors import EventLoopError

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


@flow
async def load() -> int:
    return 1


@task
async def fetch() -> int:
    return 1


@task
async def pages() -> AsyncIterator[int]:
    yield 1


@task
def count() -> int:
    return 1


async def iterate() -> None:
    async for _ in pages():
        pass


async def stream() -> None:
    async with bus.stream():
        pass


async def complete() -> None:
    async for _ in as_completed([]):
        pass


USES: dict[str, Callable[[], Awaitable[Any]]] = {
    "A run of load": load,
    "A run of fetch": fetch,
    "A run of pages": iterate,
    "bus.stream()": stream,
    "bus.wait_for()": lambda: bus.wait_for(state="Completed"),
    "`async for` over as_completed()": complete,
}


@pytest.mark.parametrize("name", USES)
def test_what_is_async_needs_asyncio(name: str) -> None:
    """Under trio it raises an error that names it and says what to do."""
    use = USES[name]

    async def main() -> None:
        await use()

    with pytest.raises(EventLoopError) as raised:
        trio.run(main)

    assert str(raised.value).startswith(f"{name} needs an event loop of asyncio")


def test_awaiting_a_future_needs_asyncio() -> None:
    """A future that has not ended raises; a blocking wait does its work."""
    go = threading.Event()

    @task
    def slow() -> int:
        go.wait()
        return 2

    @flow
    def load_all() -> int:
        future = slow.submit()
        awaited = future.ended()
        with pytest.raises(EventLoopError, match="Awaiting the task run"):
            awaited.send(None)
        go.set()
        return future.result()

    async def main() -> int:
        return load_all()

    assert trio.run(main) == 2


def test_sync_runs_and_async_hooks_work_under_trio() -> None:
    """A sync run needs no loop; its async hook runs on eventflow's own."""
    seen: list[str] = []

    async def tell(_flow: Any, _run: Any, state: Any) -> None:
        seen.append(state.name)

    @flow(on_completion=[tell])
    def work() -> int:
        return count()

    async def main() -> int:
        return work()

    assert trio.run(main) == 1
    assert seen == ["Completed"]
