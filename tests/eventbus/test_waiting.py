"""Waiting for events: streams and the next event, on one loop and over several."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any

import pytest

from eventflow import Event, EventBus, bus, flow, task
from eventflow.testing import Isolated


class Fact(Event):
    number: int = 0


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
            assert (events.pending, events.dropped) == (1, 5)

    asyncio.run(main())


def test_a_stream_is_read_on_the_next_loop_as_well() -> None:
    """Its block was entered on a loop that is closed; what came meanwhile is not lost."""
    own = EventBus()
    block = own.stream(event_type=Fact)
    loop = asyncio.new_event_loop()
    events = loop.run_until_complete(block.__aenter__())
    own.publish(Fact(number=1))
    assert loop.run_until_complete(numbers(events, 1)) == [1]
    loop.close()
    own.publish(Fact(number=2))
    assert asyncio.run(numbers(events, 1)) == [2]
    asyncio.run(block.__aexit__(None, None, None))

    assert own.subscriptions == []


# -- the next event ----------------------------------------------------------------------------


def test_waiting_for_an_event() -> None:
    """The first that is selected is returned; the subscription ends with it."""
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
    """The error names the timeout and the selection."""
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
    """The subscription ends with it."""
    own = EventBus()

    async def main() -> None:
        waiting = asyncio.create_task(own.wait_for())
        await asyncio.sleep(0)
        assert len(own.subscriptions) == 1
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert own.subscriptions == []

    asyncio.run(main())


@pytest.mark.parametrize("how", ["publish", "apublish"])
def test_an_event_between_the_call_and_the_await_is_not_missed(how: str) -> None:
    """The first one after the call, however late it is awaited."""
    own = EventBus()

    async def main() -> None:
        waiting = own.wait_for(event_type=Fact, timeout=30)
        for number in (1, 2):
            published = getattr(own, how)(Fact(number=number))
            if how == "apublish":
                await published
        assert (await waiting).number == 1
        assert own.subscriptions == []

    own.publish(Fact(number=0))
    asyncio.run(main())


def test_a_wait_may_begin_without_a_loop_or_on_another() -> None:
    """`asyncio.run` takes it; what was published since the call counts there too."""
    own = EventBus()
    waiting = own.wait_for(event_type=Fact, timeout=30)
    own.publish(Fact(number=1))
    assert asyncio.run(waiting).number == 1

    async def call() -> list[Coroutine[Any, Any, Any]]:
        return [own.wait_for(timeout=30)]

    async def publish(event: asyncio.Task[Any]) -> Any:
        await asyncio.sleep(0)
        await asyncio.to_thread(own.publish, Fact(number=2))
        return await event

    (made,) = asyncio.run(call())

    async def main() -> Any:
        return await publish(asyncio.create_task(made))

    assert asyncio.run(main()).number == 2
    assert own.subscriptions == []


@pytest.mark.parametrize("in_loop", [True, False])
def test_a_wait_that_is_never_awaited_leaves_nothing_behind(in_loop: bool) -> None:
    """Python warns of it as of any coroutine, and its subscription ends."""
    own = EventBus()

    async def main() -> None:
        call()

    def call() -> None:
        waiting = own.wait_for()
        assert len(own.subscriptions) == 1
        del waiting
        gc.collect()

    with pytest.warns(RuntimeWarning, match="was never awaited"):
        asyncio.run(main()) if in_loop else call()
    assert own.subscriptions == []


def test_a_wait_that_is_closed_unawaited_leaves_nothing_behind() -> None:
    """Without a warning: that is how to give it up."""
    own = EventBus()
    waiting = own.wait_for()
    waiting.close()
    del waiting
    gc.collect()

    assert own.subscriptions == []


def test_a_wait_whose_subscription_is_cancelled_raises() -> None:
    """No event will come, and None would be none."""
    own = EventBus()

    async def main() -> None:
        waiting = asyncio.create_task(own.wait_for(event_type=Fact))
        await asyncio.sleep(0)
        own.subscriptions[0].cancel()
        with pytest.raises(RuntimeError, match="The wait was cancelled on the bus; it was for: F"):
            await waiting

    asyncio.run(main())


@pytest.mark.parametrize(("timeout", "error"), [(-1, ValueError), ("1", TypeError)])
def test_a_wrong_timeout_is_refused_at_the_call(timeout: Any, error: type[Exception]) -> None:
    """Nothing is subscribed for it."""
    own = EventBus()
    with pytest.raises(error, match=f"timeout must be .* but got {timeout!r}"):
        own.wait_for(timeout=timeout).close()

    assert own.subscriptions == []
