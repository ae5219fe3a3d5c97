"""Generators as bodies: items, answers, the return value, and every way to end early."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest

from eventflow import flow, runtime, task
from eventflow.events import Event, StateTransition
from eventflow.states import AnyState, Failed
from tests.engine.transitions import state_names

COMPLETED = ["Pending", "Running", "Completed"]
RETRIED = ["Pending", "Running", "AwaitingRetry", "Retrying", "Completed"]


both = pytest.mark.parametrize("decorate", [flow, task], ids=["flow", "task"])


@both
def test_items_answers_and_the_return_value(decorate: Any, eventflow_events: list[Event]) -> None:
    """Items come out, answers go in, and what the body returns is the result."""

    @decorate(name="work")
    def asking() -> Generator[str, int, str]:
        first = yield "one?"
        second = yield "two?"
        return f"{first}, {second}"

    generator = asking()
    assert eventflow_events == []
    assert next(generator) == "one?"
    assert generator.send(1) == "two?"
    with pytest.raises(StopIteration) as end:
        generator.send(2)

    assert end.value.value == "1, 2"
    assert state_names(eventflow_events) == COMPLETED


@both
def test_async_items_and_answers(decorate: Any, eventflow_events: list[Event]) -> None:
    """An async generator gives its items, and takes answers."""
    heard: list[Any] = []

    @decorate(name="work")
    async def asking() -> AsyncGenerator[str, Any]:
        heard.append((yield "one?"))
        await asyncio.sleep(0)
        heard.append((yield "two?"))

    async def main() -> None:
        generator = asking()
        assert await anext(generator) == "one?"
        assert await generator.asend(1) == "two?"
        with pytest.raises(StopAsyncIteration):
            await generator.asend(2)

    asyncio.run(main())
    assert heard == [1, 2]
    assert state_names(eventflow_events) == COMPLETED


@both
def test_the_state_of_a_generator(decorate: Any, eventflow_events: list[Event]) -> None:
    """With return_state a generator returns its state, and raises nothing."""

    @decorate(name="work")
    def failing() -> Generator[int, None, None]:
        yield 1
        raise ValueError("after one")

    def consume() -> Generator[int, None, AnyState]:
        state: AnyState = yield from failing(return_state=True)
        return state

    consumer = consume()
    assert next(consumer) == 1
    with pytest.raises(StopIteration) as end:
        next(consumer)
    assert end.value.value.is_failed()


def test_an_async_generator_has_no_place_for_its_state() -> None:
    """Asking an async generator for its state is an error that says so."""

    @flow
    async def items() -> AsyncGenerator[int, None]:
        yield 1

    with pytest.raises(TypeError, match="items is an async generator, which cannot return"):
        items(return_state=True)


@both
def test_a_failing_generator(decorate: Any, eventflow_events: list[Event]) -> None:
    """A generator that raises fails its run, and its consumer gets the exception."""

    @decorate(name="work")
    def failing() -> Generator[int, None, None]:
        yield 1
        raise ValueError("after one")

    @decorate(name="awork")
    async def afailing() -> AsyncGenerator[int, None]:
        yield 1
        raise ValueError("after one")

    async def main() -> None:
        generator = afailing()
        assert await anext(generator) == 1
        await anext(generator)

    generator = failing()
    assert next(generator) == 1
    with pytest.raises(ValueError, match="after one"):
        next(generator)
    with pytest.raises(ValueError, match="after one"):
        asyncio.run(main())
    assert state_names(eventflow_events) == ["Pending", "Running", "Failed"]
    assert state_names(eventflow_events, "awork") == ["Pending", "Running", "Failed"]


@both
def test_retry_begins_again(decorate: Any, eventflow_events: list[Event]) -> None:
    """The retry of a generator begins with its first item."""
    attempts: list[int] = []

    @decorate(name="work", retries=1, retry_delay_seconds=0.001)
    def items() -> Generator[int, None, None]:
        attempts.append(1)
        yield 1
        if len(attempts) == 1:
            raise ValueError
        yield 2

    @decorate(name="awork", retries=1, retry_delay_seconds=0.001)
    async def aitems() -> AsyncGenerator[int, None]:
        attempts.append(1)
        yield 1
        if len(attempts) == 1:
            raise ValueError
        yield 2

    async def main() -> list[int]:
        return [item async for item in aitems()]

    assert list(items()) == [1, 1, 2]
    attempts.clear()
    assert asyncio.run(main()) == [1, 1, 2]
    assert state_names(eventflow_events) == RETRIED
    assert state_names(eventflow_events, "awork") == RETRIED


def test_the_run_in_force_is_the_bodys_alone(eventflow_events: list[Event]) -> None:
    """Between two items the consumer is not within the generator's run, the body is."""
    inside: list[str | None] = []

    @flow(name="work")
    def items() -> Generator[int, None, None]:
        inside.append(runtime.flow_run.id)
        yield 1
        inside.append(runtime.flow_run.id)

    generator = items()
    next(generator)
    assert runtime.flow_run.id is None
    assert list(generator) == []
    first = eventflow_events[0]
    assert isinstance(first, StateTransition)
    assert inside == [str(first.run_id)] * 2


@pytest.mark.parametrize("close", [False, True])
def test_a_generator_flow_waits_for_its_tasks(close: bool, eventflow_events: list[Event]) -> None:
    """A generator flow leaves no task behind, whether it is used up or closed."""
    done: list[str] = []

    @task
    def slow() -> None:
        threading.Event().wait(0.02)
        done.append("ended")

    @flow(name="work")
    def items() -> Generator[int, None, None]:
        slow.submit()
        yield 1

    generator = items()
    next(generator)
    if close:
        generator.close()
    else:
        assert list(generator) == []
    assert done == ["ended"]
    assert state_names(eventflow_events) == COMPLETED


@pytest.mark.parametrize("close", [False, True])
def test_an_async_generator_flow_waits_for_its_tasks(
    close: bool, eventflow_events: list[Event]
) -> None:
    """An async generator flow leaves no task behind, whether it is used up or closed."""
    done: list[str] = []

    @task
    async def slow() -> None:
        await asyncio.sleep(0.02)
        done.append("ended")

    @flow(name="work")
    async def items() -> AsyncGenerator[int, None]:
        slow.submit()
        yield 1

    async def main() -> None:
        generator = items()
        await anext(generator)
        if close:
            await generator.aclose()
        else:
            assert [item async for item in generator] == []
        assert done == ["ended"]

    asyncio.run(main())
    assert state_names(eventflow_events) == COMPLETED


@both
def test_hooks_of_a_generator(decorate: Any, eventflow_events: list[Event]) -> None:
    """Hooks of a generator's run may be sync or async, and may raise an exit."""
    seen: list[str] = []

    async def ahook(definition: Any, run: Any, state: AnyState) -> None:
        await asyncio.sleep(0)
        seen.append(state.name)

    def leave(definition: Any, run: Any, state: AnyState) -> None:
        raise SystemExit(3)

    options = {"name": "work", "on_running": [ahook, leave], "on_crashed": [ahook]}

    @decorate(**options)
    def items() -> Generator[int, None, None]:
        yield 1

    @decorate(**options)
    async def aitems() -> AsyncGenerator[int, None]:
        yield 1

    async def main() -> None:
        await anext(aitems())

    with pytest.raises(SystemExit):
        next(items())
    with pytest.raises(SystemExit):
        asyncio.run(main())
    assert seen == ["Running", "Crashed"] * 2


def test_a_generator_that_returns_a_state(eventflow_events: list[Event]) -> None:
    """A state that a generator returns is its run's."""

    @flow(name="work")
    def items() -> Generator[int, None, Any]:
        yield 1
        return Failed(message="no good")

    with pytest.raises(Exception, match="no good"):
        list(items())
    assert state_names(eventflow_events) == ["Pending", "Running", "Failed"]


def test_a_generator_with_bad_arguments(eventflow_events: list[Event]) -> None:
    """A generator is validated like any body, when its first item is asked for."""

    @flow(name="work")
    def items(to: int) -> Generator[int, None, None]:
        yield from range(to)

    assert list(items("3")) == [0, 1, 2]  # type: ignore[call-overload]
    eventflow_events.clear()
    with pytest.raises(Exception, match="to: "):
        list(items("x"))  # type: ignore[call-overload]
    assert state_names(eventflow_events) == ["Pending", "Failed"]
