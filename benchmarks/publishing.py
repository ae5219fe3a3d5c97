"""Publishing user events and transitions to sync and async listeners."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Final

from benchmarks import floors
from benchmarks.calls import work
from benchmarks.catalogue import Plan, Target, paired
from benchmarks.measure import Pair, again, on_loop
from eventflow import Event, EventBus, bus, task
from eventflow.runs.run import TaskRun
from eventflow.states import Pending

__all__ = ["MATCHING", "Counted", "listener"]

MATCHING: Final = (0, 1, 10, 1_000)
"""How many listeners an event has."""

SUSTAINED: Final = 2_000
"""How many events are published in a row to async listeners: more than their queues hold."""

ONE_LISTENER: Final = Target(1.3, "publishing adds 30 % to building the event")


class Counted(Event):
    """A user's event."""

    number: int


def listener(event: object) -> None:
    """Do nothing with an event."""


def _listeners(count: int) -> list[Callable[[object], None]]:
    """Make listeners, each a function of its own; a single one is the floor's."""

    def make() -> Callable[[object], None]:
        def listen(event: object) -> None:
            pass

        return listen

    return [listener] if count == 1 else [make() for _ in range(count)]


def _words(count: int) -> str:
    return {0: "no listener", 1: "one sync listener"}.get(count, f"{count:,} sync listeners")


# -- user events ----------------------------------------------------------------------------------


def _own(count: int, plan: Plan) -> Iterator[Pair]:
    """Build and publish an event, on the bus in force."""
    listeners = _listeners(min(count, plan.crowd))
    for listen in listeners:
        bus.subscribe(listen, event_type=Counted)
    yield Pair(again(lambda: bus.publish(Counted(number=1))), again(floors.publish, 1, listeners))


def _own_from_async(count: int, plan: Plan) -> Iterator[Pair]:
    """Build and publish an event from async code."""
    listeners = _listeners(min(count, plan.crowd))
    for listen in listeners:
        bus.subscribe(listen, event_type=Counted)

    async def ours(loops: int) -> None:
        for _ in range(loops):
            await bus.apublish(Counted(number=1))

    with asyncio.Runner() as runner:
        yield Pair(on_loop(runner.get_loop(), ours), again(floors.publish, 1, listeners))


for _count in MATCHING:
    paired(
        f"publish.own.{_count}",
        f"publish an own event, {_words(_count)}",
        floor=f"pydantic construction, {_count:,} calls",
        target=ONE_LISTENER if _count == 1 else None,
    )(partial(_own, _count))

paired(
    "publish.aown.1",
    "apublish an own event, one sync listener",
    floor="pydantic construction, 1 call",
)(partial(_own_from_async, 1))


# -- transitions ----------------------------------------------------------------------------------


def _transition(count: int, plan: Plan) -> Iterator[Pair]:
    """Make a run, enter Pending, and publish the transition, as the engine does."""
    definition = task(name="wanted")(work)
    listeners = _listeners(min(count, plan.crowd))
    crowded = EventBus()
    for listen in listeners:
        crowded.subscribe(listen, name="wanted", state="Pending")
    tags: frozenset[str] = frozenset()

    def publish() -> None:
        run = TaskRun(definition, definition.name, dict, tags, None)
        crowded.publish_transition(run.enter(Pending()))

    yield Pair(again(publish), again(floors.enter, listeners))


for _count in MATCHING:
    paired(
        f"publish.state.{_count}",
        f"enter and publish a state, {_words(_count)}",
        floor=f"pydantic state, event, {_count:,} calls",
    )(partial(_transition, _count))


# -- async listeners ------------------------------------------------------------------------------


class _Reader:
    """An async listener that sets `done` once it has received the expected number of events."""

    def __init__(self) -> None:
        self.remaining = 0
        self.done = asyncio.Event()

    def expect(self, count: int) -> None:
        """Expect so many events from now on."""
        self.remaining = count
        self.done.clear()

    async def receive(self, event: object) -> None:  # noqa: ARG002 - the signature of a listener
        """Count an event."""
        self.remaining -= 1
        if not self.remaining:
            self.done.set()


async def _read(queue: asyncio.Queue[Any], receive: Callable[[Any], Awaitable[None]]) -> None:
    while True:
        await receive(await queue.get())


async def _by_queues(count: int, readers: list[_Reader]) -> None:
    """Publish to async listeners by hand: a bounded queue for each."""
    queues: list[asyncio.Queue[Any]] = [asyncio.Queue(1_000) for _ in readers]
    tasks = [
        asyncio.create_task(_read(queue, reader.receive))
        for queue, reader in zip(queues, readers, strict=True)
    ]
    for reader in readers:
        reader.expect(count)
    for number in range(count):
        event = floors.FloorOwnEvent(number=number)
        for queue in queues:
            await queue.put(event)
    for reader in readers:
        await reader.done.wait()
    for reading in tasks:
        reading.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _sustained(count: int, plan: Plan) -> Iterator[Pair]:
    """Publish from a coroutine, without a pause, until all listeners have received everything."""
    count = min(count, plan.crowd)

    async def subscribed() -> list[_Reader]:
        readers = [_Reader() for _ in range(count)]
        for reader in readers:
            bus.subscribe(reader.receive, event_type=Counted)
        return readers

    with asyncio.Runner() as runner:
        # An async listener runs on the loop on which it subscribed.
        readers, others = runner.run(subscribed()), [_Reader() for _ in range(count)]

        async def ours(loops: int) -> None:
            for reader in readers:
                reader.expect(loops)
            for number in range(loops):
                await bus.apublish(Counted(number=number))
            for reader in readers:
                await reader.done.wait()

        async def floor(loops: int) -> None:
            await _by_queues(loops, others)

        loop = runner.get_loop()
        yield Pair(on_loop(loop, ours), on_loop(loop, floor), SUSTAINED)


for _count in (1, 10):
    paired(
        f"publish.async.{_count}",
        f"publish own events to {_count} async listener{'s' if _count > 1 else ''}, sustained",
        floor="asyncio.Queue and await, each",
        rounds=15,
    )(partial(_sustained, _count))
