"""Exceptions whose own attributes raise: the run fails like any other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from eventflow import StateTransition, StateType, flow, task
from eventflow.testing import capture_events

pytestmark = pytest.mark.usefixtures("eventflow_isolated")

NAMES = (
    "__str__",
    "__repr__",
    "__bool__",
    "__eq__",
    "__hash__",
    "__notes__",
    "__cause__",
    "__context__",
    "__class__",
    "__getattribute__",
    "__suppress_context__",
)
RAISED = (ZeroDivisionError, SystemExit, KeyboardInterrupt, RecursionError)


def hostile(name: str, raised: type[BaseException]) -> type[Exception]:
    """Make a class of exceptions, one attribute of which raises."""

    def fail(self: object, *_: object) -> Any:
        raise raised("hostile")

    is_method = name in {
        "__str__",
        "__repr__",
        "__bool__",
        "__eq__",
        "__hash__",
        "__getattribute__",
    }

    return type("Hostile", (Exception,), {name: fail if is_method else property(fail)})


def sync_task(body: Callable[[], None], **options: Any) -> Any:
    @task(**options)
    def step() -> None:
        body()

    return step(return_state=True)


def submitted_task(body: Callable[[], None], **options: Any) -> Any:
    @task(**options)
    def step() -> None:
        body()

    states = []

    @flow
    def main() -> None:
        future = step.submit()
        future.wait()
        states.append(future.state)

    main(return_state=True)

    return states[0]


def sync_flow(body: Callable[[], None], **options: Any) -> Any:
    @flow(**options)
    def main() -> None:
        body()

    return main(return_state=True)


def async_flow(body: Callable[[], None], **options: Any) -> Any:
    @flow(**options)
    async def main() -> None:
        body()

    async def run() -> Any:
        return await main(return_state=True)

    return asyncio.run(run())


def generator_task(body: Callable[[], None], **options: Any) -> Any:
    @task(**options)
    def items() -> Iterator[int]:
        body()
        yield 1

    def last() -> Any:
        return (yield from items(return_state=True))

    with pytest.raises(StopIteration) as ended:
        next(last())

    return ended.value.value


def async_generator_task(body: Callable[[], None], **options: Any) -> Any:
    @task(**options)
    async def items() -> AsyncIterator[int]:
        body()
        yield 1

    async def run() -> None:
        try:
            async for _ in items():
                pass
        except Exception:
            pass

    with capture_events() as events:
        asyncio.run(run())

    return [event for event in events if isinstance(event, StateTransition)][-1].to_state


WAYS = (
    sync_task,
    submitted_task,
    sync_flow,
    async_flow,
    generator_task,
    async_generator_task,
)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("raised", RAISED)
def test_a_run_fails_whatever_its_exception_does(
    way: Callable[..., Any], name: str, raised: type[BaseException]
) -> None:
    """After all of its attempts, and its hooks run."""
    error = hostile(name, raised)
    attempts, told = [], []

    def body() -> None:
        attempts.append(1)
        raise error

    def tell(definition: Any, run: Any, state: Any) -> None:
        told.append(state.type)

    state = way(body, on_failure=[tell], retries=1)
    assert state.type is StateType.FAILED
    assert told == [StateType.FAILED]
    assert len(attempts) == 2


@pytest.mark.parametrize("name", NAMES)
def test_the_caller_gets_the_exception_itself(name: str) -> None:
    """Not one that was raised while it was described."""
    error = hostile(name, ZeroDivisionError)()

    @flow
    def main() -> None:
        raise error

    caught: list[BaseException] = []
    try:
        main()
    except BaseException as raised:
        caught.append(raised)
    assert len(caught) == 1
    assert caught[0] is error


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("raised", RAISED)
def test_a_hook_and_a_listener_may_raise_it_too(name: str, raised: type[BaseException]) -> None:
    """The run completes, and the hooks after it run."""
    error = hostile(name, raised)
    told = []

    def fail(*_: object) -> None:
        raise error

    async def fail_async(*_: object) -> None:
        raise error

    def tell(definition: Any, run: Any, state: Any) -> None:
        told.append(state.name)

    @flow(on_completion=[fail, fail_async, tell])
    def main() -> int:
        return 1

    assert main() == 1
    assert told == ["Completed"]


@pytest.mark.parametrize("name", NAMES)
def test_a_hook_that_has_submitted_tasks_may_raise_it(name: str) -> None:
    """Sync and async; the hook after it runs."""
    error = hostile(name, ZeroDivisionError)
    told = []
    step = task(lambda: None)

    def fail(*_: object) -> None:
        step.submit().wait()
        raise error

    async def fail_async(*_: object) -> None:
        await asyncio.sleep(0)
        step.submit()
        raise error

    @flow(on_completion=[fail, fail_async, lambda *_: told.append(1)])
    def main() -> int:
        return 1

    assert main() == 1
    assert told == [1]
