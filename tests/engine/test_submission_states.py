"""Submitting tasks and asking for their states: the call blocks until they have ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from eventflow import State, Task, flow, task
from eventflow.errors import DeadlockError, MissingContextError
from eventflow.events import Event
from eventflow.runners import ThreadPoolTaskRunner
from tests.engine.submitted import aadd, add, fail
from tests.engine.transitions import state_names

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


def in_flows(body: Callable[[], Any]) -> list[Any]:
    """Return what a body gives in a sync flow, and on the event loop of an async one."""

    @flow
    def main() -> list[Any]:
        return [body()]

    @flow
    async def amain() -> list[Any]:
        return [body()]

    return [*main(), *asyncio.run(amain())]


def results_of_map(mapped: Task[[int], Any], numbers: list[int]) -> list[Any]:
    return [state.result() for state in mapped.map(numbers, return_state=True)]


@pytest.mark.parametrize("adding", [add, aadd])
def test_submit_gives_the_final_state(adding: Any, eventflow_events: list[Event]) -> None:
    """`submit` waits and gives the state, of sync and async tasks, in sync and async flows."""
    results = in_flows(lambda: adding.submit(1, return_state=True).result())

    assert results == [2, 2]
    expected = ["Pending", "Running", "Completed"]
    assert state_names(eventflow_events, adding.name) == expected * 2


@pytest.mark.parametrize("adding", [add, aadd])
def test_map_gives_the_final_states(adding: Any) -> None:
    """`map` gives a plain list of states, in the order of its arguments."""

    def body() -> list[int]:
        states = adding.map([1, 2, 3], return_state=True)
        assert type(states) is list
        assert all(isinstance(state, State) and state.is_completed() for state in states)
        return [state.result() for state in states]

    assert in_flows(body) == [[2, 3, 4], [2, 3, 4]]


def test_all_of_a_map_are_submitted_before_one_is_waited_for() -> None:
    """The task runs of a map run at once, also where it is asked for their states."""
    together = threading.Barrier(2, timeout=10)

    @task
    def meet(_: int) -> int:
        return together.wait()

    @task
    async def ameet(_: int) -> int:
        return await asyncio.to_thread(together.wait)

    tasks: list[Task[[int], Any]] = [meet, ameet]
    for meeting in tasks:
        pairs = in_flows(partial(results_of_map, meeting, [1, 2]))
        assert [sorted(pair) for pair in pairs] == [[0, 1], [0, 1]]


def test_a_failure_is_in_the_state() -> None:
    """A task run that fails, or may not begin, raises nothing; its state tells of it."""

    def body() -> list[str]:
        failed = fail.submit(return_state=True)
        return [failed.name, add.submit(failed, return_state=True).name]

    assert in_flows(body) == [["Failed", "NotReady"], ["Failed", "NotReady"]]


def test_tasks_within_a_task_that_is_waited_for() -> None:
    """What a body submits runs too, however deep, while event loops below stand still."""

    @task
    async def awaiting(depth: int) -> int:
        return 1 + await awaiting.submit(depth - 1) if depth else 0

    @task
    async def blocking(depth: int) -> int:
        return 1 + blocking.submit(depth - 1, return_state=True).result() if depth else 0

    @task
    async def turns(depth: int) -> int:
        if not depth:
            return 0
        state = turns.submit(depth - 1, return_state=True)
        return 1 + state.result() + await awaiting.submit(0)

    for nested in (awaiting, blocking, turns):
        assert in_flows(partial(results_of_map, nested, [3])) == [[3], [3]]


def test_the_loop_of_the_flow_is_used_again_afterwards() -> None:
    """Only while the event loop stands still do async tasks run elsewhere."""
    loops: list[Any] = []

    @task
    async def where() -> None:
        loops.append(asyncio.get_running_loop())

    @flow
    async def main() -> Any:
        where.submit(return_state=True)
        await where.submit()
        return asyncio.get_running_loop()

    loop = asyncio.run(main())
    assert loops[0] is not loop
    assert loops[1] is loop


def test_a_worker_that_waits_works() -> None:
    """In a full pool, a task that asks for the state of another executes it."""

    @task
    def outer(depth: int) -> int:
        return 1 + outer.submit(depth - 1, return_state=True).result() if depth else 0

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def main() -> int:
        return outer.submit(5, return_state=True).result()

    assert main() == 5


def test_an_upstream_that_needs_this_loop() -> None:
    """What only the blocked event loop could produce is an error, which says to await it first."""

    @flow
    async def main() -> int:
        for adding in (add, aadd):
            with pytest.raises(DeadlockError, match="Write `await future`"):
                adding.submit(aadd.submit(1), return_state=True)
        upstream = aadd.submit(1)
        await upstream
        return aadd.submit(upstream, return_state=True).result()

    assert asyncio.run(main()) == 3


def test_outside_of_a_flow() -> None:
    """Without a flow nothing is submitted, and the error is the same as for a future."""
    with pytest.raises(MissingContextError):
        add.submit(1, return_state=True)
    with pytest.raises(MissingContextError):
        add.map([1], return_state=True)
