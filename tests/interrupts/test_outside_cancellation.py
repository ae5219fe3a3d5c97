"""Runs that are stopped by others: asyncio's own cancellation, and exits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventflow import flow, task
from eventflow.context import get_run_context
from eventflow.events import Event
from tests.interrupts.helpers import CANCELLED, states_of

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


def test_a_timed_out_run_uncancels_its_task(eventflow_events: list[Event]) -> None:
    """eventflow undoes its cancellations of the task: blocks of the user's around it go on."""

    @flow(name="f", timeout_seconds=0.01)
    async def f() -> None:
        await asyncio.Event().wait()

    @flow(name="g")
    async def g() -> None:
        get_run_context().run.cancel()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError from None

    async def main() -> int:
        async with asyncio.timeout(600), asyncio.TaskGroup() as group:
            await f(return_state=True)
            await g(return_state=True)
            group.create_task(asyncio.sleep(0))
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert asyncio.run(main()) == 0
    assert states_of(eventflow_events, "f")[-1] == "TimedOut"
    assert states_of(eventflow_events, "g") == CANCELLED


def test_a_users_timeout_around_a_run_crashes_it(eventflow_events: list[Event]) -> None:
    """The run is Crashed, and the user gets the TimeoutError."""

    @flow(name="f")
    async def f() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        async with asyncio.timeout(0.01):
            await f()

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert states_of(eventflow_events, "f") == ["Pending", "Running", "Crashed"]


def test_an_outside_cancellation_is_not_swallowed_by_ours(eventflow_events: list[Event]) -> None:
    """If both arrive at once the run is Cancelled, and the task is cancelled as well."""

    @flow(name="f")
    async def f() -> None:
        get_run_context().run.cancel()
        current = asyncio.current_task()
        assert current is not None
        asyncio.get_running_loop().call_soon(current.cancel)
        await asyncio.Event().wait()

    async def main() -> None:
        running = asyncio.create_task(f())
        with pytest.raises(asyncio.CancelledError):
            await running
        assert running.cancelled()

    asyncio.run(main())
    assert states_of(eventflow_events, "f") == CANCELLED


def test_a_closed_coroutine_crashes_its_run_with_its_hooks(eventflow_events: list[Event]) -> None:
    """A driver that gets a GeneratorExit still publishes the end, and runs the hooks."""
    crashed: list[str] = []

    @flow(name="f", on_crashed=[lambda flow, run, state: crashed.append(state.name)])
    async def f() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        coroutine = f()
        coroutine.send(None)
        coroutine.close()

    asyncio.run(main())
    assert crashed == ["Crashed"]
    assert states_of(eventflow_events, "f") == ["Pending", "Running", "Crashed"]


def test_async_runs_in_the_loop_of_a_sync_body_are_stopped_as_tasks(
    eventflow_events: list[Event],
) -> None:
    """A stopped sync flow that runs a loop of its own has the async runs there cancelled."""

    @flow(name="inner")
    async def inner() -> None:
        await asyncio.Event().wait()

    @flow(name="outer", timeout_seconds=0.05)
    def outer() -> None:
        asyncio.run(inner())

    assert outer(return_state=True).name == "TimedOut"
    assert states_of(eventflow_events, "inner") == CANCELLED
    assert states_of(eventflow_events, "outer") == ["Pending", "Running", "TimedOut"]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("is_async", [False, True])
def test_an_exit_crashes_a_run_and_reaches_the_caller(
    kind: type[BaseException], is_async: bool, eventflow_events: list[Event]
) -> None:
    """An exit or a KeyboardInterrupt raised by a body crashes its run and those around it."""

    @task(name="t")
    def t() -> None:
        raise kind

    @flow(name="f")
    def f() -> None:
        t()

    @flow(name="f")
    async def af() -> None:
        t()

    with pytest.raises(kind):
        asyncio.run(af()) if is_async else f()
    assert states_of(eventflow_events, "t") == ["Pending", "Running", "Crashed"]
    assert states_of(eventflow_events, "f") == ["Pending", "Running", "Crashed"]


@pytest.mark.parametrize("is_async", [False, True])
def test_an_exit_in_a_submitted_task_ends_only_the_task_run(
    is_async: bool, eventflow_events: list[Event]
) -> None:
    """The task run is Crashed; its worker, its loop and its flow go on."""

    def exits() -> None:
        raise SystemExit(4)

    async def aexits() -> None:
        raise SystemExit(4)

    t: Any = task(name="t")(aexits if is_async else exits)

    @flow(name="f")
    def f() -> bool:
        future = t.submit()
        future.wait()
        return bool(future.state.is_crashed())

    assert f()
    assert states_of(eventflow_events, "t") == ["Pending", "Running", "Crashed"]
