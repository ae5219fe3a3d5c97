"""Mailboxes: bounds, overflow, many threads and loops, and loops that end."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from eventflow import Event, EventBus, bus, flow, task
from eventflow.eventbus.mailbox import Mailbox, check_policy
from eventflow.testing import Isolated


class Fact(Event):
    number: int


FACTS = [Fact(number=number) for number in range(10)]


async def remaining(mailbox: Mailbox) -> list[int]:
    mailbox.end()
    numbers = []
    while (event := await mailbox.get()) is not None:
        assert isinstance(event, Fact)
        numbers.append(event.number)

    return numbers


@pytest.mark.parametrize(
    ("overflow", "kept", "dropped"),
    [("drop_oldest", [3, 4], 3), ("drop_newest", [0, 1], 3), ("block", [0, 1, 2, 3, 4], 0)],
)
def test_each_policy_keeps_other_events(overflow: Any, kept: list[int], dropped: int) -> None:
    """What is dropped is counted; "block" drops nothing, and asks publishers to wait."""

    async def main() -> None:
        mailbox = Mailbox(asyncio.get_running_loop(), 2, overflow)
        asked = [mailbox.put(fact) for fact in FACTS[:5]]
        assert asked == [False, False, *([overflow == "block"] * 3)]
        assert mailbox.dropped == dropped
        assert await remaining(mailbox) == kept

    asyncio.run(main())


@pytest.mark.parametrize(
    ("size", "overflow", "error", "message"),
    [
        (0, "block", ValueError, "size must be 1 or more, but is 0"),
        ("9", "block", TypeError, "size must be a whole number of events, but is '9'"),
        (1, "explode", ValueError, "overflow must be one of block, .* but is 'explode'"),
    ],
)
def test_a_wrong_policy_is_refused(size: Any, overflow: str, error: Any, message: str) -> None:
    """The message has the value and what is allowed."""
    with pytest.raises(error, match=message):
        check_policy(size, overflow)


def test_a_publisher_in_another_thread_blocks_until_there_is_room() -> None:
    """It continues when the reader has taken an event, and not before."""

    async def main() -> None:
        mailbox = Mailbox(asyncio.get_running_loop(), 1, "block")
        mailbox.put(FACTS[0])
        waits, through = threading.Event(), threading.Event()

        def publish() -> None:
            assert mailbox.put(FACTS[1])
            waits.set()
            mailbox.wait_for_room()
            through.set()

        thread = threading.Thread(target=publish)
        thread.start()
        await asyncio.to_thread(waits.wait)
        assert await mailbox.get() == FACTS[0]
        assert await mailbox.get() == FACTS[1]
        await asyncio.to_thread(thread.join)
        assert through.is_set()

    asyncio.run(main())


def test_a_publisher_on_a_loop_awaits_room() -> None:
    """It is woken by the reader; where there is room meanwhile, there is nothing to await."""

    async def main() -> None:
        mailbox = Mailbox(asyncio.get_running_loop(), 1, "block")
        mailbox.put(FACTS[0])
        assert mailbox.put(FACTS[1])
        room = mailbox.room()
        assert room is not None

        async def wait() -> None:
            await room

        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        mailbox.take()
        await waiting
        assert mailbox.room() is None

    asyncio.run(main())


def test_sync_code_on_a_running_loop_never_waits() -> None:
    """Blocking there would stop whatever else the loop does, the reader perhaps."""

    async def main() -> None:
        mailbox = Mailbox(asyncio.get_running_loop(), 1, "block")
        mailbox.put(FACTS[0])
        assert mailbox.put(FACTS[1])
        mailbox.wait_for_room()

    asyncio.run(main())


def test_the_reader_itself_never_waits() -> None:
    """A reader may publish to its own mailbox, also when that is full."""

    async def main() -> None:
        mailbox = Mailbox(asyncio.get_running_loop(), 1, "block")
        mailbox.put(FACTS[0])
        await mailbox.get()
        mailbox.put(FACTS[1])
        assert mailbox.put(FACTS[2])
        assert mailbox.room() is None

    asyncio.run(main())


def test_closing_releases_reader_and_publishers() -> None:
    """They continue; later events are counted as dropped."""

    async def main() -> None:
        mailbox = Mailbox(asyncio.get_running_loop(), 1, "block")
        reader = asyncio.create_task(mailbox.get())
        await asyncio.sleep(0)
        mailbox.close()
        assert await reader is None
        assert not mailbox.put(FACTS[0])
        assert mailbox.dropped == 1

        other = Mailbox(asyncio.get_running_loop(), 1, "block")
        other.put(FACTS[0])
        other.put(FACTS[1])
        room = other.room()
        other.close()
        assert room is not None
        await room
        assert other.dropped == 2

    asyncio.run(main())


def test_a_mailbox_whose_loop_is_closed_takes_nothing_in() -> None:
    """It is never read: no publisher waits, and all events are counted as dropped."""
    loop = asyncio.new_event_loop()

    async def make() -> Mailbox:
        return Mailbox(loop, 2, "block")

    mailbox = loop.run_until_complete(make())
    loop.run_until_complete(asyncio.wait_for(_began_to_read(mailbox), 5))
    loop.close()
    for fact in FACTS:
        mailbox.put(fact)
        mailbox.wait_for_room()

    assert len(mailbox) == 0
    assert mailbox.dropped == len(FACTS)


async def _began_to_read(mailbox: Mailbox) -> None:
    reader = asyncio.create_task(mailbox.get())
    await asyncio.sleep(0)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)


def test_a_publisher_does_not_wait_for_a_loop_that_stands_still() -> None:
    """The mailbox is not read while its loop is not running."""
    loop = asyncio.new_event_loop()
    mailbox = Mailbox(loop, 1, "block")
    mailbox.put(FACTS[0])
    assert mailbox.put(FACTS[1])
    mailbox.wait_for_room()

    async def register_canceller() -> None:
        room = mailbox.room()
        assert room is not None
        await room

    asyncio.run(register_canceller())
    assert len(mailbox) == 2
    loop.close()
    mailbox.put(FACTS[2])
    assert (len(mailbox), mailbox.dropped) == (0, 3)


def test_a_waiting_publisher_may_lose_its_loop() -> None:
    """The notification that there is room must not fail for the reader."""

    async def main() -> None:
        mailbox = Mailbox(asyncio.get_running_loop(), 1, "block")
        mailbox.put(FACTS[0])
        mailbox.put(FACTS[1])

        async def ask() -> None:
            assert mailbox.room() is not None

        await asyncio.to_thread(asyncio.run, ask())
        room = mailbox.room()
        assert room is not None
        waiting = asyncio.ensure_future(_until(room))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert await remaining(mailbox) == [0, 1]

    asyncio.run(main())


async def _until(room: Any) -> None:
    await room


# -- streams -----------------------------------------------------------------------------------


async def numbers(events: Any, count: int) -> list[int]:
    return [(await anext(events)).number for _ in range(count)]


def test_a_stream_yields_events_in_order() -> None:
    """Those since the start of the block, from any thread, that are selected."""
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


def test_a_stream_drops_the_oldest_and_counts_them() -> None:
    """A slow reader loses events, which are counted, and delays no publisher."""
    own = EventBus()

    async def main() -> None:
        async with own.stream(size=2) as events:
            for number in range(5):
                own.publish(Fact(number=number))
            assert events.dropped == own.subscriptions[0].dropped == 3
            assert await numbers(events, 2) == [3, 4]

    asyncio.run(main())


def test_a_reader_that_runs_a_flow_does_not_wait(eventflow_isolated: Isolated) -> None:
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
