"""blinker's side: it has no events of its own, so a dataclass is built and sent."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import perf_counter_ns

from blinker import Signal

from benchmarks.peers.serving import on_loop, serve, timed


@dataclass(frozen=True)
class Counted:
    """A user's event."""

    number: int


counted = Signal()
acounted = Signal()


@counted.connect
def listener(event: Counted) -> None:
    """Do nothing with an event."""


@acounted.connect
async def alistener(event: Counted) -> None:
    """Do nothing with an event."""


def published(count: int) -> None:
    """Publish so many events to one sync receiver."""
    for number in range(count):
        counted.send(Counted(number))


async def published_async(count: int) -> int:
    """Publish so many events to one async receiver; each is awaited, blinker knows no queue."""
    begin = perf_counter_ns()
    for number in range(count):
        await acounted.send_async(Counted(number))

    return perf_counter_ns() - begin


if __name__ == "__main__":
    with asyncio.Runner() as runner:
        serve(
            {
                "publish.sync": timed(published),
                "publish.async": on_loop(runner, published_async),
            }
        )
