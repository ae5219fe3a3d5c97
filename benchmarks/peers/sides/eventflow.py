"""eventflow's side; an environment variable sets whether there is a journal."""

from __future__ import annotations

import asyncio
from time import perf_counter_ns

from benchmarks.peers.serving import on_loop, serve, timed
from eventflow import Event, EventBus, flow, task
from eventflow.testing import flush


class Counted(Event):
    """A user's event."""

    number: int


def hook(definition: object, run: object, state: object) -> None:
    """Do nothing with a state."""


@task(on_completion=[hook])
def work(number: int) -> int:
    """Do next to nothing."""
    return number


@flow
def direct(count: int) -> int:
    """Call so many tasks."""
    begin = perf_counter_ns()
    for number in range(count):
        work(number)
    flush()  # that everything is in the journal counts as well

    return perf_counter_ns() - begin


@flow
def submitted(count: int) -> int:
    """Submit so many tasks at once, and wait for their results."""
    begin = perf_counter_ns()
    for future in [work.submit(number) for number in range(count)]:
        future.result()
    flush()  # that everything is in the journal counts as well

    return perf_counter_ns() - begin


@flow(on_completion=[hook])
def empty() -> None:
    """Do nothing, with a hook that is guarded where there is a journal."""


def empty_flows(count: int) -> None:
    """Run so many flows."""
    for _ in range(count):
        empty()
    flush()  # that everything is in the journal counts as well


def listener(event: object) -> None:
    """Do nothing with an event."""


def published(count: int) -> None:
    """Publish so many events to one sync listener."""
    for number in range(count):
        publish(Counted(number=number))


async def published_async(count: int) -> int:
    """Publish so many events to one async listener, and wait until it has received them all."""
    bus, done, received = EventBus(), asyncio.Event(), 0

    async def alistener(event: object) -> None:
        nonlocal received
        received += 1
        if received == count:
            done.set()

    with bus.subscribe(alistener, event_type=Counted):
        begin = perf_counter_ns()
        for number in range(count):
            await bus.apublish(Counted(number=number))
        await done.wait()

        return perf_counter_ns() - begin


if __name__ == "__main__":
    own = EventBus()
    own.subscribe(listener, event_type=Counted)
    publish = own.publish
    with asyncio.Runner() as runner:
        serve(
            {
                "task.direct": direct,
                "task.submitted": submitted,
                "flow.empty": timed(empty_flows),
                "publish.sync": timed(published),
                "publish.async": on_loop(runner, published_async),
            }
        )
