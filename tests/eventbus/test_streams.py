"""Streams and wait_for."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from eventflow import Event, EventBus, bus, flow, task
from eventflow.testing import Isolated


class Fact(Event):
    number: int


async def numbers(events: Any, count: int) -> list[int]:
    return [(await anext(events)).number for _ in range(count)]


def test_a_stream_gives_events_in_order() -> None:
    """From the beginning of the block on, from any thread, and only what is selected."""
    own = EventBus()

    async def main() -> None:
        own.publish(Fact(number=-1))
        async with own.stream(event_type=Fact) as events:
            own.publish(Fact(number=0))
            own.publish(Event())
            await asyncio.to_thread(own.publish, Fact(number=1))
            assert events.pending == 2
            assert own.subscriptions[0].pending == 2
            waiting = asyncio.create_task(numbers(events, 3))
            await own.apublish(Fact(number=2))
            assert await waiting == [0, 1, 2]
        assert own.subscriptions == []
        assert [event async for event in events] == []

    asyncio.run(main())


def test_a_stream_drops_the_oldest_and_says_so() -> None:
    """Who reads too slowly loses events, visibly, and holds nobody up."""
    own = EventBus()

    async def main() -> None:
        async with own.stream(size=2) as events:
            for number in range(5):
                own.publish(Fact(number=number))
            assert events.dropped == own.subscriptions[0].dropped == 3
            assert await numbers(events, 2) == [3, 4]

    asyncio.run(main())


def test_a_stream_may_hold_publishers_up() -> None:
    """With "block" nothing is dropped; what waits is let go when the block ends."""
    own = EventBus()

    async def main() -> None:
        through: list[int] = []

        async def publish() -> None:
            for number in range(4):
                await own.apublish(Fact(number=number))
                through.append(number)

        async with own.stream(size=1, overflow="block") as events:
            publishing = asyncio.create_task(publish())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert through == [0]
            assert await numbers(events, 3) == [0, 1, 2]
        await publishing
        assert through == [0, 1, 2, 3]

    asyncio.run(main())


def test_a_thread_that_waits_for_a_stream_is_let_go_with_it() -> None:
    """The end of the block frees who is blocked in another thread."""
    own = EventBus()

    async def main() -> None:
        full = threading.Event()

        def publish() -> None:
            own.publish(Fact(number=0))
            full.set()
            own.publish(Fact(number=1))

        thread = threading.Thread(target=publish)
        async with own.stream(size=1, overflow="block"):
            thread.start()
            await asyncio.to_thread(full.wait)
        await asyncio.to_thread(thread.join, 30)
        assert not thread.is_alive()

    asyncio.run(main())


def test_a_reader_that_runs_a_flow_is_not_held_up(eventflow_isolated: Isolated) -> None:
    """The events of what the reader does itself do not wait for the reader."""

    @task
    async def inner() -> None: ...

    @flow
    async def outer() -> None:
        await inner()

    async def main() -> None:
        async with bus.stream(size=1, overflow="block", event_type=Event) as events:
            bus.publish(Fact(number=0))
            await anext(events)
            await outer()
            assert events.pending == 6

    asyncio.run(main())


def test_waiting_for_an_event() -> None:
    """The first that is selected is given; the subscription is gone afterwards."""
    own = EventBus()

    async def main() -> None:
        waiting = asyncio.create_task(own.wait_for(event_type=Fact, timeout=30))
        await asyncio.sleep(0)
        await own.apublish(Event())
        for number in range(3):
            await own.apublish(Fact(number=number))
        assert (await waiting).number == 0
        assert own.subscriptions == []

    asyncio.run(main())


def test_waiting_in_vain() -> None:
    """Past its timeout: what was waited for, and how long."""
    own = EventBus()

    async def main() -> None:
        with pytest.raises(TimeoutError) as raised:
            await own.wait_for(state="Completed", run_type="flow", timeout=0.01)
        assert str(raised.value) == (
            "No event came within 0.01 s for: StateTransition, run_type='flow', state=Completed."
        )
        assert own.subscriptions == []

    asyncio.run(main())


def test_waiting_can_be_cancelled() -> None:
    """Nothing is left behind."""
    own = EventBus()

    async def main() -> None:
        waiting = asyncio.create_task(own.wait_for())
        await asyncio.sleep(0)
        assert len(own.subscriptions) == 1
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert own.subscriptions == []

    asyncio.run(main())
