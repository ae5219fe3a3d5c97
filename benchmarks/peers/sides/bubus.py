"""bubus's side: an event is dispatched and awaited; its queue takes few at once."""

from __future__ import annotations

import asyncio
from time import perf_counter_ns

from bubus import BaseEvent, EventBus

from benchmarks.peers.serving import on_loop, serve

AT_ONCE = 50
"""How many are dispatched before they are awaited: the bus refuses more than 100."""


class Counted(BaseEvent[None]):
    """A user's event."""

    number: int


def listener(event: Counted) -> None:
    """Do nothing with an event."""


async def alistener(event: Counted) -> None:
    """Do nothing with an event."""


async def published(count: int) -> int:
    """Publish so many events to one sync handler, each when the one before was handled."""
    bus = EventBus()
    bus.on(Counted, listener)
    begin = perf_counter_ns()
    for number in range(count):
        await bus.dispatch(Counted(number=number))
    taken = perf_counter_ns() - begin
    await bus.stop(clear=True)

    return taken


async def published_async(count: int) -> int:
    """Publish so many events to one async handler, and wait until it has received them all."""
    bus = EventBus()
    bus.on(Counted, alistener)
    begin = perf_counter_ns()
    for first in range(0, count, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, count))
        for event in [bus.dispatch(Counted(number=number)) for number in numbers]:
            await event
    taken = perf_counter_ns() - begin
    await bus.stop(clear=True)

    return taken


if __name__ == "__main__":
    with asyncio.Runner() as runner:
        serve(
            {
                "publish.sync": on_loop(runner, published),
                "publish.async": on_loop(runner, published_async),
            }
        )
