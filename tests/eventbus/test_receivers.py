"""Async listeners: order, fairness, what they publish, and the end of loops and processes."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from typing import Any

import pytest

from eventflow import Event, EventBus, bus, task
from eventflow.events import ListenerFailed
from eventflow.interrupts.portals import background_portal
from eventflow.testing import Isolated


class Fact(Event):
    number: int = 0


def test_an_async_listener_sees_events_in_order() -> None:
    """Published from a loop and from a thread, one after the other, however slow it is."""
    own, seen = EventBus(), list[int]()

    async def main() -> None:
        async def listen(event: Fact) -> None:
            await asyncio.sleep(0)
            seen.append(event.number)

        own.subscribe(listen)
        for number in range(0, 50, 2):
            own.publish(Fact(number=number))
            await asyncio.to_thread(own.publish, Fact(number=number + 1))

    asyncio.run(main())
    assert seen == list(range(50))


def test_the_end_of_a_loop_waits_for_listeners() -> None:
    """`asyncio.run` returns when the listener has seen all, also what it was busy with."""
    own, seen = EventBus(), list[int]()

    async def main() -> None:
        busy = asyncio.Event()

        async def listen(event: Fact) -> None:
            busy.set()
            async with asyncio.timeout(30):
                await asyncio.sleep(0.001)
            seen.append(event.number)

        own.subscribe(listen)
        for number in range(5):
            own.publish(Fact(number=number))
        await busy.wait()

    asyncio.run(main())
    assert seen == [0, 1, 2, 3, 4]


def test_a_listener_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a loop waits for a while, not for ever."""
    monkeypatch.setattr("eventflow.eventbus.loop_ends.SHUTDOWN_SECONDS", 0.01)
    own, cancelled = EventBus(), list[int]()

    async def hang(event: Fact) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(event.number)

    async def main() -> None:
        own.subscribe(hang)
        own.publish(Fact(number=1))
        own.publish(Fact(number=2))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert cancelled == [1]


def test_cancelling_every_task_of_a_loop_loses_no_waiting_event() -> None:
    """Events that were published before are delivered; the current call is cancelled."""
    own, seen, broken = EventBus(), list[int](), list[int]()

    async def main() -> None:
        busy = asyncio.Event()

        async def listen(event: Fact) -> None:
            if event.number == 0:
                busy.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    broken.append(event.number)
            seen.append(event.number)

        own.subscribe(listen)
        for number in range(3):
            own.publish(Fact(number=number))
        await busy.wait()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    asyncio.run(main())
    assert (broken, seen) == ([0], [1, 2])


def test_without_a_loop_there_is_the_background_loop() -> None:
    """A listener subscribed by plain code runs there; `cancel` ends it."""
    own, seen = EventBus(), list[str]()
    done = threading.Event()

    async def listen(event: Event) -> None:
        seen.append(threading.current_thread().name)
        done.set()

    subscription = own.subscribe(listen)
    assert (subscription.pending, subscription.dropped) == (0, 0)
    own.publish(Fact())
    assert done.wait(10)
    subscription.cancel()
    own.publish(Fact())

    assert seen == ["eventflow-loop"]


def test_a_subscription_that_never_got_an_event_can_end() -> None:
    """It has no mailbox to close."""
    own = EventBus()

    async def listen(event: Event) -> None: ...

    own.subscribe(listen).cancel()
    assert own.subscriptions == []


class Answers:
    """Async listeners with queues of size one, each of which publishes to all in every way."""

    def __init__(self) -> None:
        self.done = threading.Event()

        @task
        async def reaction() -> None: ...

        self.reaction = reaction

    def subscribe(self) -> None:
        for listener in (self.answer, self.answer, self.echo):
            bus.subscribe(listener, size=1, event_type=Fact)

    async def answer(self, event: Fact) -> None:
        if event.number < 20:
            await bus.apublish(Fact(number=event.number + 1), follows=event)
            bus.publish(Fact(number=100))
            await self.reaction()
            await asyncio.to_thread(bus.publish, Fact(number=100))
        elif event.number == 20:
            self.done.set()

    async def echo(self, event: Event) -> None:
        await bus.apublish(Event(), follows=event)


def test_what_a_listener_publishes_itself_never_deadlocks(eventflow_isolated: Isolated) -> None:
    """On the background loop: queues of size one, each filled by all listeners."""
    answers = Answers()
    answers.subscribe()
    bus.publish(Fact(number=15))

    assert answers.done.wait(30)
    for subscription in bus.subscriptions:
        subscription.cancel()


def test_what_a_listener_publishes_on_the_same_loop_never_deadlocks(
    eventflow_isolated: Isolated,
) -> None:
    """The same, where publisher and readers share a loop."""
    answers = Answers()

    async def main() -> None:
        answers.subscribe()
        await bus.apublish(Fact(number=15))
        assert await asyncio.to_thread(answers.done.wait, 30)

    asyncio.run(main())


@pytest.mark.parametrize(
    "kind", [ValueError, asyncio.CancelledError, SystemExit, KeyboardInterrupt]
)
def test_a_failing_async_listener_goes_on(kind: type[BaseException]) -> None:
    """What it raises is published; on the shared loop not even an exit ends anything."""
    own, failures, seen = EventBus(), list[ListenerFailed](), list[int]()
    done = threading.Event()

    async def listen(event: Fact) -> None:
        seen.append(event.number)
        if event.number == 0:
            raise kind("no")
        done.set()

    own.subscribe(failures.append, event_type=ListenerFailed)
    own.subscribe(listen, event_type=Fact)
    fact = own.publish(Fact(number=0))
    own.publish(Fact(number=1))

    assert done.wait(10)
    assert seen == [0, 1]
    assert [failure.follows for failure in failures] == [fact.id]
    assert failures[0].error.type.endswith(kind.__name__)
    assert failures[0].listener.endswith("listen")


def run_with_an_exit() -> None:
    """Run an event loop until a listener exits."""
    own = EventBus()

    async def listen(event: Event) -> None:
        raise SystemExit(3)

    async def main() -> None:
        own.subscribe(listen)
        own.publish(Fact())
        await asyncio.Event().wait()

    with pytest.raises(SystemExit):
        asyncio.run(main())


def test_an_exit_in_a_listener_ends_the_users_own_loop(caplog: pytest.LogCaptureFixture) -> None:
    """As it does from any task; nothing is said of it once more when the task is collected."""
    run_with_an_exit()
    gc.collect()

    assert caplog.text == ""


def test_a_busy_listener_yields_to_other_tasks() -> None:
    """A long queue and a listener that never awaits do not block the loop."""
    own, seen = EventBus(), list[int]()

    async def main() -> None:
        async def listen(event: Fact) -> None:
            seen.append(event.number)

        own.subscribe(listen)
        for number in range(200):
            own.publish(Fact(number=number))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert 0 < len(seen) < 200

    asyncio.run(main())
    assert len(seen) == 200


def test_a_publisher_in_another_thread_waits_for_a_slow_listener() -> None:
    """With a queue of size one it is never more than one event ahead."""
    own = EventBus()

    async def main() -> None:
        release, got = asyncio.Event(), list[int]()

        async def listen(event: Fact) -> None:
            got.append(event.number)
            await release.wait()

        own.subscribe(listen, size=1)
        published: list[int] = []
        third = threading.Event()

        def publish() -> None:
            for number in range(5):
                if number == 2:
                    third.set()
                own.publish(Fact(number=number))
                published.append(number)

        thread = threading.Thread(target=publish)
        thread.start()
        await asyncio.to_thread(third.wait)
        assert len(published) == 2
        release.set()
        await asyncio.to_thread(thread.join)
        assert published == [0, 1, 2, 3, 4]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("listener", "message"),
    [
        (lambda: None, r"The listener .*<lambda>\(\) cannot be called with \(event\): too many"),
        (lambda event, bus: None, r"missing a required argument: 'bus'"),
        (lambda event, *, bus: None, r"A listener takes 1 positional argument, as in: def it\("),
        (asyncio.sleep, None),
        (list[object]().append, None),
        (max, None),
    ],
)
def test_what_cannot_take_an_event_is_refused(listener: Any, message: str | None) -> None:
    """At the subscription, called and as a decorator; nothing is subscribed."""
    own = EventBus()
    if message is None:
        own.subscribe(listener)
        own.subscribe()(listener)
        assert len(own.subscriptions) == 2
        return
    for subscribe in (own.subscribe, own.subscribe()):
        with pytest.raises(TypeError, match=message):
            subscribe(listener)
    assert own.subscriptions == []


# -- streams -----------------------------------------------------------------------------------


def test_a_stream_may_make_publishers_wait() -> None:
    """With "block" nothing is dropped; waiting publishers are released at the end of the block."""
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
            assert [(await anext(events)).number for _ in range(3)] == [0, 1, 2]
        await publishing
        assert through == [0, 1, 2, 3]

    asyncio.run(main())


def test_the_end_of_a_stream_releases_waiting_threads() -> None:
    """A publisher that is blocked in another thread continues."""
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


# -- processes ---------------------------------------------------------------------------------


def run_program(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": ""},
    )


def test_the_end_of_a_process_waits_for_listeners() -> None:
    """What was published is seen before the process ends, and nothing complains."""
    done = run_program("""
import asyncio
from eventflow import bus, Event
async def listen(event):
    await asyncio.sleep(0.001)
    print("seen", event.type)
bus.subscribe(listen)
bus.subscribe(listen)
for _ in range(5):
    bus.publish(Event())
""")

    assert done.stderr == ""
    assert done.stdout.count("seen eventflow.events.Event") == 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_listeners_too() -> None:
    """The background loop does not survive the fork; its listeners start on a new one."""
    done = run_program("""
import asyncio, os, threading, warnings
from eventflow import bus, Event
warnings.simplefilter("ignore")
done = threading.Event()
async def listen(event):
    done.set()
bus.subscribe(listen)
bus.publish(Event())
assert done.wait(10)
child = os.fork()
if child == 0:
    done.clear()
    bus.publish(Event())
    os._exit(0 if done.wait(10) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
""")

    assert (done.returncode, done.stderr) == (0, "")
    assert background_portal.loop.is_running()
