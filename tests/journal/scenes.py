"""Runs of every kind that end in every way, and the tasks and hooks that they use."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from eventflow import (
    cancel,
    flow,
    runtime,
    tags,
    task,
    wait,
)
from eventflow.states import Cancelled, Paused


@task
def double(number: int) -> int:
    """Succeed."""
    return 2 * number


@task
def fails() -> None:
    """Fail."""
    raise ValueError("no")


@task
async def adouble(number: int) -> int:
    """Succeed in async code."""
    await asyncio.sleep(0)

    return 2 * number


def sync_runs() -> None:
    @flow(tags=["nightly"])
    def child(number: int) -> int:
        return double(number)

    @flow(name="parent", flow_run_name="for-{day}", version="7")
    def parent(day: str) -> int:
        with tags("prod"):
            return child(1) + double(2)

    assert parent("monday") == 6


def async_runs() -> None:
    @flow
    async def parent() -> Any:
        return await asyncio.gather(adouble(1), adouble(2))

    assert asyncio.run(parent()) == [2, 4]


def submitted_runs() -> None:
    @flow
    def parent() -> Any:
        first: Any = double.submit(1)
        return double.submit(first).result(), double.map([1, 2, 3])

    assert parent()[0] == 4


def generators() -> None:
    @flow
    def counts() -> Iterator[int]:
        yield from range(3)

    @flow
    async def acounts() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    async def main() -> list[int]:
        return [number async for number in acounts()]

    assert list(counts()) == asyncio.run(main()) == [0, 1, 2]
    early: Any = counts()
    next(early)
    early.close()


def retries() -> None:
    counted = itertools.count(1)

    @task(retries=2, retry_delay_seconds=0.001)
    def third_time() -> None:
        if next(counted) < 3:
            raise ValueError("again")

    third_time()


def timeouts() -> None:
    @flow(timeout_seconds=0.01)
    def slow() -> None:
        threading.Event().wait(60)

    @flow(timeout_seconds=0.01)
    async def aslow() -> None:
        await asyncio.Event().wait()

    assert slow(return_state=True).name == "TimedOut"
    assert asyncio.run(aslow(return_state=True)).name == "TimedOut"


def failures() -> None:
    @flow
    def parent() -> None:
        fails(return_state=True)
        double(1, 2, return_state=True)
        first: Any = fails.submit()
        double.submit(first)
        wait([first])

    assert parent(return_state=True).is_completed()


def cancellations() -> None:
    @flow
    def child() -> None:
        assert cancel(str(runtime.flow_run.root_flow_run_id))
        threading.Event().wait(60)

    @flow
    def parent() -> None:
        child()

    @flow(name="gives up")
    def giving_up() -> Any:
        return Cancelled()

    assert parent(return_state=True).is_cancelled()
    assert giving_up(return_state=True).is_cancelled()


def pauses() -> None:
    @task
    def paused() -> Any:
        return Paused()

    @flow
    def parent() -> Any:
        return paused.submit()

    assert parent(return_state=True).is_paused()


def cached() -> None:
    known = task(name="known", cache_key_fn=lambda *_: "key")(lambda: 1)
    assert (known(), known(return_state=True).name) == (1, "Cached")


def crashes() -> None:
    @task
    def interrupted() -> None:
        raise KeyboardInterrupt

    @flow
    def parent() -> None:
        interrupted()

    @flow
    async def aparent() -> None:
        raise SystemExit(3)

    with pytest.raises(KeyboardInterrupt):
        parent()
    with pytest.raises(SystemExit):
        asyncio.run(aparent())


SCENES: dict[str, tuple[Callable[[], None], int]] = {
    scene.__name__: (scene, runs)
    for scene, runs in (
        *((sync_runs, 4), (async_runs, 3), (submitted_runs, 6), (generators, 3), (retries, 1)),
        *((timeouts, 2), (failures, 5), (cancellations, 3), (pauses, 2), (cached, 2), (crashes, 3)),
    )
}


def seen(*_: Any) -> None:
    """Do nothing: a hook, or a listener."""
