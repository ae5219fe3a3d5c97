"""abxbus's side: an event is emitted and awaited by `now()`; many at once wait in its queue."""

from __future__ import annotations

import asyncio
from time import perf_counter_ns

from abxbus import BaseEvent, EventBus

from benchmarks.peers.serving import on_loop, serve


class Counted(BaseEvent[None]):
    """A user's event."""

    number: int


def listener(event: Counted) -> None:
    """Do nothing with an event."""


async def alistener(event: Counted) -> None:
    """Do nothing with an event."""


async def published(count: int) -> int:
    """Publish so many events to one sync handler, each when the one before was handled."""
    bus = EventBus(max_history_size=0)
    bus.on(Counted, listener)
    begin = perf_counter_ns()
    for number in range(count):
        await bus.emit(Counted(number=number)).now()

    return perf_counter_ns() - begin


async def published_async(count: int) -> int:
    """Publish so many events to one async handler, and wait until it has received them all."""
    bus = EventBus(max_history_size=0)
    bus.on(Counted, alistener)
    begin = perf_counter_ns()
    for number in range(count):
        bus.emit(Counted(number=number))
    await bus.wait_until_idle()

    return perf_counter_ns() - begin


if __name__ == "__main__":
    with asyncio.Runner() as runner:
        serve(
            {
                "publish.sync": on_loop(runner, published),
                "publish.async": on_loop(runner, published_async),
            }
        )
