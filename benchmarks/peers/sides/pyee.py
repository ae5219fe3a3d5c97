"""pyee's side: it has no events of its own, so a dataclass is built and handed to the listeners."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import perf_counter_ns

from pyee import EventEmitter
from pyee.asyncio import AsyncIOEventEmitter

from benchmarks.peers.serving import on_loop, serve, timed


@dataclass(frozen=True)
class Counted:
    """A user's event."""

    number: int


emitter = EventEmitter()


@emitter.on("counted")
def listener(event: Counted) -> None:
    """Do nothing with an event."""


def published(count: int) -> None:
    """Publish so many events to one sync listener."""
    for number in range(count):
        emitter.emit("counted", Counted(number))


async def alistener(event: Counted) -> None:
    """Do nothing with an event."""


async def published_async(count: int) -> int:
    """Publish so many events to one async listener, and wait until it has received them all."""
    aemitter = AsyncIOEventEmitter()
    aemitter.on("counted", alistener)
    begin = perf_counter_ns()
    for number in range(count):
        aemitter.emit("counted", Counted(number))
    await aemitter.wait_for_complete()

    return perf_counter_ns() - begin


if __name__ == "__main__":
    with asyncio.Runner() as runner:
        serve(
            {
                "publish.sync": timed(published),
                "publish.async": on_loop(runner, published_async),
            }
        )
