"""Async listeners when loops end: they go on elsewhere, and no event is lost without a word."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from eventflow import Event, EventBus
from eventflow.eventbus.subscriptions import Subscription


class Fact(Event):
    number: int = 0


class Listener:
    """Notes what it is given, and in which thread and on which loop."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.threads: list[str] = []
        self.loops: list[Any] = []
        self.got = threading.Event()

    async def __call__(self, event: Fact) -> None:
        await asyncio.sleep(0)
        self.seen.append(event.number)
        self.threads.append(threading.current_thread().name)
        self.loops.append(asyncio.get_running_loop())
        self.got.set()


def subscribed(own: EventBus, listener: Listener) -> Subscription:
    """Subscribe on a loop that is closed afterwards, having delivered an event there."""

    async def main() -> Subscription:
        subscription = own.subscribe(listener)
        own.publish(Fact(number=1))
        return subscription

    return asyncio.run(main())


@pytest.mark.parametrize("how", ["publish", "apublish", "thread"])
def test_a_listener_moves_to_the_next_loop(how: str) -> None:
    """It hears what is published there, and in the thread of a loop of its own."""
    own, listener = EventBus(), Listener()
    subscribed(own, listener)

    async def second() -> None:
        if how == "publish":
            own.publish(Fact(number=2))
        elif how == "apublish":
            await own.apublish(Fact(number=2))
        else:
            await asyncio.to_thread(own.publish, Fact(number=2))
            await asyncio.to_thread(listener.got.wait, 30)

    listener.got.clear()
    asyncio.run(second())
    assert listener.seen == [1, 2]
    if how != "thread":
        assert listener.threads == [threading.current_thread().name] * 2
    asyncio.run(second())
    assert listener.got.wait(30)
    (subscription,) = own.subscriptions
    assert (subscription.dropped, subscription.delivered) == (0, 3)


def test_without_a_next_loop_there_is_the_background_loop() -> None:
    """Until one runs again: it is not tied to the background loop."""
    own, listener = EventBus(), Listener()
    subscribed(own, listener)
    listener.got.clear()
    own.publish(Fact(number=2))
    assert listener.got.wait(30)
    while own.subscriptions[0].pending:
        pass

    async def third() -> None:
        own.publish(Fact(number=3))

    asyncio.run(third())
    here = threading.current_thread().name
    assert listener.seen == [1, 2, 3]
    assert listener.threads == [here, "eventflow-loop", here]


def test_what_a_closed_loop_left_is_delivered_first() -> None:
    """Events that were in the queue of a loop that was closed over them come in order."""
    own, listener = EventBus(), Listener()
    loop = asyncio.new_event_loop()

    async def first() -> None:
        own.subscribe(listener)

    loop.run_until_complete(first())
    own.publish(Fact(number=1))
    own.publish(Fact(number=2))
    loop.close()

    async def second() -> None:
        own.publish(Fact(number=3))

    asyncio.run(second())
    assert listener.seen == [1, 2, 3]


def test_a_call_that_a_closed_loop_cut_off_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """It is not made again; the events behind it are delivered."""
    own, seen = EventBus(), list[int]()
    loop = asyncio.new_event_loop()

    async def hang(event: Fact) -> None:
        seen.append(event.number)
        if event.number == 1:
            await asyncio.Event().wait()

    async def first() -> None:
        own.subscribe(hang)
        own.publish(Fact(number=1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        own.publish(Fact(number=2))

    loop.run_until_complete(first())
    loop.close()

    async def second() -> None:
        own.publish(Fact(number=3))

    asyncio.run(second())
    gc.collect()
    assert seen == [1, 2, 3]
    assert "An async listener was cut off in the middle of an event" in caplog.text


def test_a_loop_that_stands_still_keeps_its_events(caplog: pytest.LogCaptureFixture) -> None:
    """Between two runs they wait; that another loop publishes meanwhile is said once."""
    own, listener = EventBus(), Listener()

    async def first() -> None:
        own.subscribe(listener)

    async def elsewhere() -> None:
        own.publish(Fact(number=2))
        own.publish(Fact(number=3))

    async def go_on() -> None:
        await asyncio.to_thread(listener.got.wait, 30)

    with asyncio.Runner() as runner:
        runner.run(first())
        own.publish(Fact(number=1))
        assert caplog.text == ""
        runner.run(go_on())
        asyncio.run(elsewhere())
        asyncio.run(elsewhere())
        assert listener.seen == [1]
    assert listener.seen == [1, 2, 3, 2, 3]
    assert caplog.text.count("The event loop of an async listener is not running") == 1


def test_a_full_queue_of_a_loop_that_stands_still_is_bounded() -> None:
    """A publisher does not wait for it, and what is too much is counted."""
    own, listener = EventBus(), Listener()

    async def first() -> None:
        own.subscribe(listener, size=2)

    async def go_on() -> None:
        await asyncio.to_thread(listener.got.wait, 30)

    with asyncio.Runner() as runner:
        runner.run(first())
        for number in range(5):
            own.publish(Fact(number=number))
        (subscription,) = own.subscriptions
        assert (subscription.pending, subscription.dropped) == (2, 3)
        runner.run(go_on())
    assert listener.seen == [0, 1]


def test_one_that_was_given_up_hears_the_next_loop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What waited for it is dropped, counted and said."""
    monkeypatch.setattr("eventflow.eventbus.loop_ends.SHUTDOWN_SECONDS", 0.01)
    own, seen = EventBus(), list[int]()

    async def listen(event: Fact) -> None:
        seen.append(event.number)
        if event.number == 1:
            await asyncio.Event().wait()

    async def main(*numbers: int) -> None:
        if not own.subscriptions:
            own.subscribe(listen, event_type=Fact)
        for number in numbers:
            own.publish(Fact(number=number))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main(1, 2))
    assert "An async listener did not end with its event loop, and was given up." in caplog.text
    asyncio.run(main(3))

    assert seen == [1, 3]
    assert own.subscriptions[0].dropped == 1


def test_a_listener_that_cancels_its_own_task_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """The call is a failure, and is logged; only `cancel` ends the subscription."""
    own, seen = EventBus(), list[int]()

    async def listen(event: Fact) -> None:
        task = asyncio.current_task()
        assert task is not None
        if event.number == 0:
            task.cancel()
            await asyncio.Event().wait()
        seen.append(event.number)
        if event.number == 3:
            subscription.cancel()

    async def main() -> None:
        for number in (0, 1):
            await own.apublish(Fact(number=number))
        for _ in range(5):
            await asyncio.sleep(0)
        for number in (2, 3, 4):
            await own.apublish(Fact(number=number))

    subscription = asyncio.run(_subscribed(own, listen))
    asyncio.run(main())
    assert seen == [1, 2, 3]
    assert caplog.text.count("listener failed") == 1
    assert own.subscriptions == []


async def _subscribed(own: EventBus, listener: Callable[[Fact], Any]) -> Subscription:
    return own.subscribe(listener, event_type=Fact)


def test_a_publisher_inside_of_the_listener_is_bounded() -> None:
    """Waiting for itself is no way out: what is too much is dropped and counted."""
    own, seen = EventBus(), list[int]()

    async def listen(event: Fact) -> None:
        seen.append(event.number)
        if event.number == 0:
            for number in range(1, 10):
                await own.apublish(Fact(number=number))
                await asyncio.to_thread(own.publish, Fact(number=-number))

    async def main() -> None:
        own.subscribe(listen, size=2)
        own.publish(Fact(number=0))

    asyncio.run(main())
    assert seen == [0, 1, -1]
    assert own.subscriptions[0].dropped == 16


def by_publisher(seen: list[tuple[int, int]]) -> dict[int, list[int]]:
    return {who: [number for one, number in seen if one == who] for who, _ in seen}


def test_nothing_is_lost_while_loops_come_and_go() -> None:  # noqa: C901 - one scene
    """Threads that wait for room, and loops that end meanwhile: all is heard once, in order."""
    own, seen, calls, overlaps = EventBus(), list[tuple[int, int]](), list[int](), list[int]()

    class Of(Fact):
        publisher: int

    async def listen(event: Of) -> None:
        overlaps.extend(calls)
        calls.append(event.number)
        if event.number % 7 == 0:
            await asyncio.sleep(0)
        seen.append((event.publisher, event.number))
        calls.remove(event.number)

    async def subscribe() -> None:
        own.subscribe(listen, event_type=Of, size=5)

    async def publish_from(loop: int) -> None:
        for number in range(20):
            await own.apublish(Of(publisher=100 + loop, number=number))

    def publish(thread: int) -> None:
        for number in range(300):
            own.publish(Of(publisher=thread, number=number))

    asyncio.run(subscribe())
    threads = [threading.Thread(target=publish, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    loops = 0
    while any(thread.is_alive() for thread in threads):
        asyncio.run(publish_from(loops))
        loops += 1
    (subscription,) = own.subscriptions
    while subscription.pending:
        pass

    expected = {thread: list(range(300)) for thread in range(4)}
    expected.update({100 + loop: list(range(20)) for loop in range(loops)})
    assert by_publisher(seen) == expected
    assert (overlaps, subscription.dropped) == ([], 0)


def test_a_bus_that_nobody_holds_delivers_and_is_collected() -> None:
    """Its queued events are delivered first; afterwards no task keeps it."""
    listener = Listener()

    async def main() -> Any:
        own = EventBus()
        own.subscribe(listener)
        own.publish(Fact(number=1))
        own.publish(Fact(number=2))
        return weakref.ref(own)

    found = asyncio.run(main())
    gc.collect()
    assert listener.seen == [1, 2]
    assert found() is None


def test_the_end_of_the_process_delivers_what_a_closed_loop_left() -> None:
    """On the background loop, from loops that were closed and that never ran again."""
    program = """
import asyncio
from eventflow import Event, bus
async def listen(event):
    await asyncio.sleep(0)
    print("seen", event.type)
async def first():
    bus.subscribe(listen)
for close in (True, False):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(first())
    bus.publish(Event())
    if close:
        loop.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=dict(os.environ),
    )

    assert (done.returncode, done.stdout.count("seen"), done.stderr) == (0, 3, "")
