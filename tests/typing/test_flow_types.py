"""What type checkers see through `@flow`: mypy and pyright read this, and it runs as well."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, assert_type

import pytest

from eventflow import Flow, State, flow, task
from eventflow.runs.futures import Future, FutureList
from eventflow.testing import Isolated


@flow
def bare(number: int, word: str = "") -> int:
    return number


@flow(name="called", retries=1, log_prints=False)
def called(number: int) -> str:
    return str(number)


@flow
async def coroutine(number: int) -> int:
    return number


@flow(tags={"a"})
async def called_coroutine(number: int) -> str:
    return str(number)


@flow
def counting(to: int) -> Generator[int, None, str]:
    yield from range(to)
    return "done"


@flow
async def acounting(to: int) -> AsyncGenerator[int, None]:
    for number in range(to):
        yield number


class Holder:
    """Flows as methods."""

    @flow
    def method(self, number: int) -> int:
        return number

    @flow(name="am")
    async def amethod(self, number: int) -> str:
        return str(number)


def test_results(eventflow_isolated: Isolated) -> None:
    """The result of a sync flow has the type that its function returns."""
    assert_type(bare(1), int)
    assert_type(bare(1, word="x"), int)
    assert_type(called(1), str)
    assert_type(bare.with_options(name="other")(1), int)
    assert_type(bare(1, return_state=True), State[int])
    assert_type(bare(1, return_state=True).result(), int)
    assert_type(bare(1, wait_for=[]), int)
    assert_type(counting(1), Generator[int, None, str])


async def _awaited() -> None:
    assert_type(await coroutine(1), int)
    assert_type(await called_coroutine(1), str)
    assert_type(await coroutine(1, return_state=True), State[int])
    assert_type((await coroutine(1, return_state=True)).result(), int)
    assert_type(await Holder().amethod(1), str)
    assert_type([number async for number in acounting(1)], list[int])
    held: Coroutine[Any, Any, int] = coroutine(1)
    await held


def test_awaited_results(eventflow_isolated: Isolated) -> None:
    """The result of an async flow has its type once it is awaited."""
    import asyncio

    asyncio.run(_awaited())


def test_methods(eventflow_isolated: Isolated) -> None:
    """A method keeps its own parameters, without self."""
    assert_type(Holder().method(1), int)
    assert_type(Holder().method(1, return_state=True), State[int])


def test_wrong_arguments(eventflow_isolated: Isolated) -> None:
    """A wrong argument is an error of both type checkers, and of the run."""
    with pytest.raises(Exception, match="number"):
        bare("a")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    with pytest.raises(Exception, match="number"):
        bare()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    with pytest.raises(Exception, match="number"):
        Holder().method("a")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


def test_options() -> None:
    """Options have types, and so have a flow that is made without a decorator and a copy."""

    def add(number: int, more: int = 1) -> int:
        return number + more

    made = Flow(add, name="add", retries=1)
    assert_type(made(1), int)
    assert_type(flow(add, name="add")(1), int)
    assert_type(made.with_options(timeout_seconds=5)(1), int)
    assert_type(made.retries, int)
    assert_type(made.retry_delay_seconds, float | list[float])
    assert_type(made.timeout_seconds, float | None)
    assert_type(made.version, str | None)
    assert_type(made.flow_run_name, str | Callable[..., str] | None)
    assert_type(made.on_failure_hooks, list[Callable[[Any, Any, Any], object]])
    assert_type(made.isasync, bool)
    with pytest.raises(TypeError):
        Flow(add, name=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError):
        made.with_options(retires=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def test_wrong_options() -> None:
    """A wrong option is an error of both type checkers, and at decoration."""
    with pytest.raises(TypeError):
        flow(retires=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError):
        flow(on_failure=3)(lambda: None)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


def test_declaring_leaves_functions_as_they_are() -> None:
    """A hook keeps its own type through every form of declaration."""
    made: Flow[[int], int] = flow(lambda number: number)

    @made.on_failure
    def first(flow: object, run: object, state: object) -> int:
        return 1

    @made.on("Failed")
    def second(flow: object, run: object, state: object) -> str:
        return "2"

    assert_type(first(0, 0, 0), int)
    assert_type(second(0, 0, 0), str)


@task
def one(number: int) -> int:
    return number


@flow
def future(number: int) -> Future[int]:
    return one.submit(number)


@flow
def futures(number: int) -> list[Future[int]]:
    return [one.submit(number)]


@flow
def mapped(number: int) -> FutureList[int]:
    return one.map([number])


@flow
def state(number: int) -> State[int]:
    return one(number, return_state=True)


@flow
async def afuture(number: int) -> Future[int]:
    return one.submit(number)


@flow
async def amapped(number: int) -> FutureList[int]:
    return one.map([number])


@flow
async def astate(number: int) -> State[int]:
    return one(number, return_state=True)


async def _awaited_states() -> None:
    assert_type(await afuture(1), State[int])
    assert_type(await amapped(1), list[State[int]])
    assert_type(await astate(1), State[int])
    assert_type((await afuture(1, return_state=True)).result(), State[int])
    assert_type((await amapped(1, return_state=True)).result(), list[State[int]])
    assert_type((await astate(1, return_state=True)).result(), State[int])
    assert_type(await (await coroutine(1, return_state=True)).aresult(), int)


def test_states_in_the_places_of_futures(eventflow_isolated: Isolated) -> None:
    """The result of a flow that returns futures or states of other runs is states."""
    import asyncio

    assert_type(future(1), State[int])
    assert_type(future(1).result(), int)
    assert_type(futures(1), list[State[int]])
    assert_type(mapped(1), list[State[int]])
    assert_type(state(1), State[int])
    assert_type(future(1, return_state=True), State[State[int]])
    assert_type(mapped(1, return_state=True).result(), list[State[int]])
    assert_type(state(1, return_state=True).result(), State[int])
    asyncio.run(_awaited_states())
