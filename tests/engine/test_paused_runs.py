"""A body that returns `Paused()` leaves its run Paused; a coroutine that it returns is awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from eventflow import flow, task
from eventflow.errors import PausedRun
from eventflow.events import Event, StateTransition
from eventflow.states import AnyState, Paused, Suspended
from tests.engine.transitions import checked_state_names

pytestmark = pytest.mark.usefixtures("eventflow_isolated")

PATH = ["Pending", "Running", "Paused"]


def body() -> AnyState:
    return Paused(message="until tomorrow")


async def abody() -> AnyState:
    return Paused(message="until tomorrow")


def items() -> Iterator[int]:
    yield 1
    return Paused(message="until tomorrow")  # type: ignore[return-value]


CALLS: dict[str, Any] = {
    "flow": flow(body),
    "task": task(retries=2)(body),
    "async flow": lambda **options: asyncio.run(flow(abody)(**options)),
    "async task": lambda **options: asyncio.run(task(retries=2)(abody)(**options)),
    "generator": lambda **options: exhausted(flow(items)(**options)),
}


def exhausted(generator: Any) -> Any:
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize("kind", CALLS)
def test_the_call_raises(kind: str, eventflow_events: list[Event]) -> None:
    """The run ends as Paused, without a retry, and the call says why it has no result."""
    with pytest.raises(PausedRun, match="until tomorrow"):
        CALLS[kind]()
    (name,) = {
        event.definition_name for event in eventflow_events if isinstance(event, StateTransition)
    }
    assert checked_state_names(eventflow_events, name) == PATH
    state = CALLS[kind](return_state=True)
    assert state.is_paused()
    assert not state.is_final()


def test_it_is_told_of_as_paused() -> None:
    """Its hooks for that state run, and no others; it has an end, and cannot be cancelled."""
    seen: list[Any] = []

    def note(definition: Any, run: Any, state: Any) -> None:
        seen.append((run.run_type, state.name))

    kinds: dict[str, Any] = {"on_completion": [note], "on_failure": [note], "on_crashed": [note]}

    @task(**kinds)
    def waiting() -> AnyState:
        return Suspended(timeout_seconds=60)

    @flow(**kinds)
    def main() -> Any:
        future: Any = waiting.submit()
        with pytest.raises(PausedRun, match=r"The run is Suspended, and its result is not"):
            future.result()
        later = task(lambda given: given).submit(future)
        assert later.state.name in {"Pending", "NotReady"}
        assert later.wait()
        assert later.state.name == "NotReady"
        run = future.run
        assert (run.end_time, run.cancel()) == (run.state.timestamp, False)
        return future

    waiting.on("Suspended")(note)
    main.on("Paused")(note)
    assert main(return_state=True).is_paused()
    assert seen == [("task", "Suspended"), ("flow", "Paused")]


def test_a_paused_run_has_no_result_to_keep() -> None:
    """It is not found in the cache: the next run executes the body again."""
    calls: list[int] = []

    @task(cache_key_fn=lambda *_: "key")
    def once() -> Any:
        calls.append(1)
        return Paused() if len(calls) == 1 else len(calls)

    assert once(return_state=True).is_paused()
    assert (once(), once()) == (2, 2)


async def five() -> int:
    await asyncio.sleep(0)
    return 5


def test_a_coroutine_that_is_returned_is_awaited() -> None:
    """For want of an `await` in the body of an async flow or task, called or submitted."""

    async def forgetful() -> Any:
        return five()

    async def forgetting_its_state() -> Any:
        return task(five)(return_state=True)

    @flow
    async def main() -> Any:
        called, submitted = await task(forgetful)(), await task(forgetful).submit()
        return called, submitted

    assert asyncio.run(flow(forgetful)()) == 5
    assert asyncio.run(main()) == (5, 5)
    state = asyncio.run(flow(forgetting_its_state)(return_state=True))
    assert state.message == "All states completed."


def test_it_is_awaited_within_the_run() -> None:
    """What it raises fails the run, the timeout covers it, and it may submit tasks."""

    async def failing() -> None:
        raise ValueError("no")

    @task
    async def submitted() -> int:
        return 7

    async def submitting() -> int:
        return await submitted.submit()

    async def endless() -> None:
        await asyncio.Event().wait()

    def forgetful(coroutine_function: Any) -> Any:
        async def body() -> Any:
            return coroutine_function()

        return body

    with pytest.raises(ValueError, match="no"):
        asyncio.run(flow(forgetful(failing))())
    state = asyncio.run(flow(timeout_seconds=0.01)(forgetful(endless))(return_state=True))
    assert state.name == "TimedOut"
    assert asyncio.run(flow(forgetful(submitting))()) == 7


def test_other_awaitables_are_results() -> None:
    """Only a coroutine is awaited: an async generator is one to go through."""

    async def numbers() -> AsyncIterator[int]:
        yield 1

    @flow
    async def main() -> AsyncIterator[int]:
        return numbers()

    async def consume() -> list[int]:
        return [number async for number in await main()]

    assert asyncio.run(consume()) == [1]
