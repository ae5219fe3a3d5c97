"""The end of an event loop: what is published then is heard, and nothing waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from eventflow import Event, EventBus, bus, flow
from eventflow.testing import Isolated


class Fact(Event):
    number: int = 0


async def forever() -> None:
    await asyncio.Event().wait()


def names(events: list[Any]) -> list[str]:
    return [event.to_state.name for event in events]


@pytest.mark.parametrize("heard_before", [True, False])
def test_what_the_end_of_a_loop_causes_is_heard(
    eventflow_isolated: Isolated, heard_before: bool
) -> None:
    """A flow that it crashes, however long the listener takes, on the loop itself."""
    seen: list[Any] = []
    loops: list[Any] = []

    async def listen(event: Event) -> None:
        for _ in range(50):
            await asyncio.sleep(0)
        seen.append(event)
        loops.append(asyncio.get_running_loop())

    @flow
    async def lasting() -> None:
        started.set()
        await forever()

    async def main() -> None:
        bus.subscribe(listen, state=["Running", "Crashed"] if heard_before else "Crashed")
        tasks.add(asyncio.create_task(lasting()))
        async with asyncio.timeout(30):
            await started.wait()

    started, tasks = asyncio.Event(), set[Any]()
    asyncio.run(main())
    assert names(seen) == [*(["Running"] if heard_before else []), "Crashed"]
    assert len(set(loops)) == 1
    assert loops[0].is_closed()


def test_what_comes_after_that_is_heard_as_well() -> None:
    """What an async generator publishes when the loop closes it is for the background loop."""
    own, seen = EventBus(), list[int]()

    async def listen(event: Fact) -> None:
        await asyncio.sleep(0)
        seen.append(event.number)

    async def generate() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            own.publish(Fact(number=2))

    async def main() -> AsyncIterator[int]:
        own.subscribe(listen)
        own.publish(Fact(number=1))
        items = generate()
        await anext(items)
        return items

    kept = asyncio.run(main())
    (subscription,) = own.subscriptions
    while subscription.pending:
        pass
    assert seen == [1, 2]
    assert subscription.dropped == 0
    del kept


def test_listeners_that_answer_each_other_for_ever_are_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The end of the loop waits for a while, and no longer; that is said."""
    monkeypatch.setattr("eventflow.eventbus.loop_ends.SHUTDOWN_SECONDS", 0.05)
    own = EventBus()

    async def answer(event: Fact) -> None:
        await asyncio.sleep(0)
        if own.subscriptions:
            await own.apublish(Fact(number=event.number + 1))

    async def main() -> None:
        own.subscribe(answer, event_type=Fact)
        own.subscribe(answer, event_type=Fact, overflow="drop_newest", size=1)
        own.publish(Fact(number=0))

    asyncio.run(main())
    assert "did not end with its event loop, and was given up" in caplog.text
    for subscription in own.subscriptions:
        subscription.cancel()


def test_a_program_that_cancels_every_task_itself_ends() -> None:
    """Nothing lasts where the loop still runs; listeners go on with the next event."""
    own, seen = EventBus(), list[int]()

    async def listen(event: Fact) -> None:
        seen.append(event.number)

    async def main() -> None:
        own.subscribe(listen)
        for number in range(3):
            await own.apublish(Fact(number=number))
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            async with asyncio.timeout(30):
                await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
    assert seen == [0, 1, 2]
