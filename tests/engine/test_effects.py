"""Effects that are carried out to their end whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventflow import flow, task
from eventflow.engine.effects import Effect
from eventflow.events import Event, StateTransition
from eventflow.states import AnyState


def test_an_effect_is_abstract() -> None:
    """The base class cannot be carried out."""
    with pytest.raises(NotImplementedError):
        Effect().run(None)  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError):
        asyncio.run(Effect().arun(None))  # type: ignore[arg-type]


@pytest.mark.usefixtures("eventflow_isolated")
@pytest.mark.parametrize("decorate", [flow, task], ids=["flow", "task"])
def test_a_cancellation_while_hooks_run(decorate: Any, eventflow_events: list[Event]) -> None:
    """Hooks run to their end although the task that awaits them is cancelled meanwhile."""
    seen: list[str] = []
    begun = asyncio.Event()

    async def slow(definition: Any, run: Any, state: AnyState) -> None:
        begun.set()
        await asyncio.sleep(0.01)
        seen.append(state.name)

    @decorate(name="work", on_running=[slow], on_crashed=[slow])
    async def work() -> None:
        seen.append("body")

    async def main() -> None:
        running = asyncio.ensure_future(work())
        await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    assert seen == ["Running", "Crashed"]
    names = [e.to_state.name for e in eventflow_events if isinstance(e, StateTransition)]
    assert names == ["Pending", "Running", "Crashed"]


@pytest.mark.usefixtures("eventflow_isolated")
def test_a_cancellation_while_tasks_are_cancelled(eventflow_events: list[Event]) -> None:
    """A flow that fails waits for its tasks' ends although it is cancelled meanwhile."""
    closing = asyncio.Event()

    @task(name="slow")
    async def slow() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            closing.set()
            await asyncio.sleep(0.01)

    @flow(name="work")
    async def work() -> None:
        slow.submit()
        await asyncio.sleep(0)
        raise ValueError

    async def main() -> None:
        running = asyncio.ensure_future(work())
        await closing.wait()
        running.cancel()
        with pytest.raises((asyncio.CancelledError, ValueError)):
            await running

    asyncio.run(main())
    names = [
        (event.definition_name, event.to_state.name)
        for event in eventflow_events
        if isinstance(event, StateTransition)
    ]
    assert names[-2][0] == "slow"
    assert names[-2][1] == "Cancelled"
    assert names[-1][0] == "work"


@pytest.mark.usefixtures("eventflow_isolated")
def test_a_closed_coroutine_cancels_its_tasks(eventflow_events: list[Event]) -> None:
    """A flow whose coroutine is closed cannot wait for its tasks, but stops them."""

    @task(name="slow")
    async def slow() -> None:
        await asyncio.sleep(3600)

    @flow(name="work")
    async def work() -> None:
        slow.submit()
        await asyncio.sleep(3600)

    async def main() -> None:
        coroutine = work()
        coroutine.send(None)
        coroutine.close()
        await asyncio.sleep(0)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=10)

    asyncio.run(main())
    last = {
        event.definition_name: event.to_state.name
        for event in eventflow_events
        if isinstance(event, StateTransition)
    }
    assert last == {"work": "Crashed", "slow": "Cancelled"}
