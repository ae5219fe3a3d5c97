"""Many runs at once, while subscriptions come and go: nothing is lost, doubled or out of order."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Final
from uuid import UUID

import pytest

from eventflow import StateTransition, bus, cancel, flow, task
from eventflow.interrupts.scopes import active_runs

pytestmark = pytest.mark.usefixtures("eventflow_isolated")

THREADS: Final = 100
TASKS: Final = 1_000


class Ledger:
    """The events that one listener, and the runs that the hooks, have seen from any thread."""

    def __init__(self) -> None:
        self.events: list[StateTransition] = []
        self.hooked: list[UUID] = []

    def check(self, runs: int, kinds: list[str]) -> None:
        """Assert that each transition of each run was seen once and in order."""
        assert Counter(event.to_state.name for event in self.events) == dict.fromkeys(kinds, runs)
        by_run: dict[UUID, list[StateTransition]] = defaultdict(list)
        for event in self.events:
            by_run[event.run_id].append(event)
        assert len(by_run) == runs
        for events in by_run.values():
            assert [event.sequence for event in events] == list(range(len(kinds)))
            assert [event.to_state.name for event in events] == kinds
            assert [event.follows for event in events] == [
                None,
                *[event.id for event in events[:-1]],
            ]


def subscribe_and_cancel(stop: threading.Event) -> Callable[[], None]:
    """Return a function that subscribes and cancels, repeatedly, until an event is set."""

    def churn() -> None:
        while not stop.is_set():
            with bus.subscribe(lambda event: None, run_type="task"):
                bus.subscribe(lambda event: None, state="Running", once=True).cancel()

    return churn


def test_a_hundred_threads_of_flows_and_tasks() -> None:
    """Each thread runs flows that call and submit tasks; every transition is seen once."""
    ledger = Ledger()
    start = threading.Barrier(THREADS)
    stop = threading.Event()
    results: list[int] = []

    @task(on_completion=[lambda task, run, state: ledger.hooked.append(run.id)])
    def double(number: int) -> int:
        return number * 2

    @flow(on_completion=[lambda flow, run, state: ledger.hooked.append(run.id)])
    def f(number: int) -> int:
        future = double.submit(number)
        return double(number) + future.result()

    def work(number: int) -> None:
        start.wait(60)
        results.append(f(number))

    with bus.subscribe(ledger.events.append, event_type=StateTransition):
        churning = threading.Thread(target=copy_context().run, args=[subscribe_and_cancel(stop)])
        churning.start()
        threads = [
            threading.Thread(target=copy_context().run, args=[work, number])
            for number in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        stop.set()
        churning.join(60)
    assert sorted(results) == [4 * number for number in range(THREADS)]
    ledger.check(3 * THREADS, ["Pending", "Running", "Completed"])
    assert len(ledger.hooked) == len(set(ledger.hooked)) == 3 * THREADS
    assert not active_runs


def test_a_thousand_asyncio_tasks_of_flows() -> None:
    """Flows that retry once, all on one loop, with subscriptions that begin and end meanwhile."""
    ledger = Ledger()
    tries: Counter[int] = Counter()

    async def hook(flow: Any, run: Any, state: Any) -> None:
        await asyncio.sleep(0)
        ledger.hooked.append(run.id)

    @flow(retries=1, on_completion=[hook])
    async def f(number: int) -> None:
        await asyncio.sleep(0)
        tries[number] += 1
        if tries[number] == 1:
            raise ValueError

    async def run(number: int) -> None:
        if number % 20:
            await f(number)
        else:
            with bus.subscribe(lambda event: None, run_type="flow"):
                await f(number)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(TASKS):
                group.create_task(run(number))

    with bus.subscribe(ledger.events.append, event_type=StateTransition):
        asyncio.run(main())
    ledger.check(TASKS, ["Pending", "Running", "AwaitingRetry", "Retrying", "Completed"])
    assert len(ledger.hooked) == len(set(ledger.hooked)) == TASKS
    assert not active_runs


def test_a_thousand_cancellations_at_once() -> None:
    """Every run that is cancelled from other threads ends Cancelled, exactly once."""
    ledger = Ledger()
    accepted: list[bool] = []

    @flow
    async def f() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        running = [asyncio.create_task(f(return_state=True)) for _ in range(TASKS)]
        await asyncio.sleep(0)

        ids = [UUID(int=number) for number in active_runs]

        def strike(part: int) -> None:
            accepted.extend(cancel(run_id) for run_id in ids[part::2])

        threads = [threading.Thread(target=strike, args=[part]) for part in (0, 1)]
        for thread in threads:
            thread.start()
        states = await asyncio.gather(*running)
        for thread in threads:
            thread.join(60)
        assert all(state.is_cancelled() for state in states)

    with bus.subscribe(ledger.events.append, event_type=StateTransition):
        asyncio.run(main())
    assert sum(accepted) == TASKS
    ledger.check(TASKS, ["Pending", "Running", "Cancelling", "Cancelled"])
    assert not active_runs
