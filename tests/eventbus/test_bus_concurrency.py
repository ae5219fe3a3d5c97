"""The bus under load: many threads and tasks publish, and listeners hang."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from typing import Any
from uuid import uuid4

from eventflow import Event, EventBus, bus, flow, task
from eventflow.events import StateTransition
from eventflow.runs.run import TaskRun
from eventflow.states import Completed, Pending, Running
from eventflow.testing import Isolated
from tests.eventbus.threads import in_threads


@task
def it() -> None: ...


def publish_run(own: EventBus) -> list[Any]:
    run = TaskRun(it, "it", dict, frozenset({"a"}), None)
    facts = []
    for state in (Pending(), Running(), Completed()):
        fact = run.enter(state)
        own.publish_transition(fact)
        facts.append((run.id, fact.sequence))

    return facts


async def apublish_run(own: EventBus) -> None:
    run = TaskRun(it, "it", dict, frozenset({"a"}), None)
    for state in (Pending(), Running(), Completed()):
        completion = own.begin_transition(run.enter(state))
        if completion is not None:
            await completion
        await asyncio.sleep(0)


class Observers:
    """Three kinds of listeners, and the events that each of them received."""

    def __init__(self, own: EventBus, expected: int) -> None:
        self.expected = expected
        self.complete = threading.Event()
        self.inline: list[StateTransition] = []
        self.filtered: list[StateTransition] = []
        self.queued: list[StateTransition] = []
        own.subscribe(self.inline.append)
        own.subscribe(self.filtered.append, tags={"a"}, name="it")
        own.subscribe(self.listen, size=100)

    async def listen(self, event: StateTransition) -> None:
        self.queued.append(event)
        if len(self.queued) == self.expected:
            self.complete.set()

    def check(self) -> None:
        for seen in (self.inline, self.filtered, self.queued):
            assert len(seen) == self.expected
            runs = defaultdict[Any, list[int]](list)
            for event in seen:
                runs[event.run_id].append(event.sequence)
            assert all(sequence == [0, 1, 2] for sequence in runs.values())


async def apublish_runs(own: EventBus, count: int) -> None:
    begin = asyncio.Event()

    async def publish() -> None:
        await begin.wait()
        await apublish_run(own)

    tasks = [asyncio.create_task(publish()) for _ in range(count)]
    await asyncio.sleep(0)
    begin.set()
    await asyncio.gather(*tasks)


def test_nothing_is_lost_while_subscriptions_come_and_go() -> None:
    """100 threads and 1,000 tasks publish at once: all arrive once, each run in its order."""
    own = EventBus()
    observers = Observers(own, (100 * 3 + 1_000) * 3)
    stop = threading.Event()

    def come_and_go() -> None:
        selections: list[Any] = [{}, {"state": "Running"}, {"run_id": uuid4()}, {"tags": {"a"}}]
        while not stop.is_set():
            for selection in selections:
                own.subscribe(bool, **selection).cancel()

    def publish(number: int) -> None:
        if number == 0:
            asyncio.run(apublish_runs(own, 1_000))
        else:
            for _ in range(3):
                publish_run(own)

    restless = threading.Thread(target=come_and_go)
    restless.start()
    in_threads(101, publish)
    stop.set()
    restless.join()
    assert observers.complete.wait(30)

    observers.check()
    assert len(own.subscriptions) == 3


def test_an_async_listener_that_hangs_does_not_stall_the_loop(eventflow_isolated: Isolated) -> None:
    """While it waits, runs go on and the loop turns: never a stall of 50 ms because of it."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        forever, hanging = asyncio.Event(), asyncio.Event()
        stalls: list[float] = []

        async def listen(event: Event) -> None:
            hanging.set()
            await forever.wait()

        @task
        async def step() -> None: ...

        @flow
        async def busy() -> None:
            for _ in range(20):
                await step()

        async def watch() -> None:
            while True:
                before = loop.time()
                await asyncio.sleep(0)
                stalls.append(loop.time() - before)

        bus.subscribe(listen)
        watching = asyncio.create_task(watch())
        await busy()
        await hanging.wait()
        watching.cancel()
        forever.set()
        assert max(stalls) < 0.05

    asyncio.run(main())
