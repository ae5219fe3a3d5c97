"""What type checkers see through `@task`, `submit`, `map` and futures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, assert_type

import pytest

from eventflow import (
    State,
    Task,
    allow_failure,
    as_completed,
    flow,
    opaque,
    quote,
    task,
    unmapped,
    wait,
)
from eventflow.runs.futures import Future, FutureList
from eventflow.testing import Isolated


def no_key(context: object, parameters: object) -> None:
    return None


@task
def bare(number: int, word: str = "") -> int:
    return number


@task(retries=1, retry_delay_seconds=[0.0], cache_key_fn=no_key)
def called(number: int) -> str:
    return str(number)


@task
async def coroutine(number: int) -> int:
    return number


@task(name="called")
async def called_coroutine(number: int) -> str:
    return str(number)


class Holder:
    """Tasks as methods."""

    @task
    def method(self, number: int) -> int:
        return number

    @task(name="am")
    async def amethod(self, number: int) -> str:
        return str(number)


def test_calls(eventflow_isolated: Isolated) -> None:
    """The result of a sync task has the type that its function returns."""
    assert_type(bare(1), int)
    assert_type(called(1), str)
    assert_type(bare(1, return_state=True), State[int])
    assert_type(bare(1, return_state=True).result(), int)
    assert_type(bare(1, wait_for=[]), int)
    assert_type(Holder().method(1), int)
    assert_type(bare.with_options(retries=2)(1), int)


def test_futures(eventflow_isolated: Isolated) -> None:
    """Futures know the type of their result, one by one and in lists."""

    @flow
    def submitting() -> None:
        assert_type(bare.submit(1), Future[int])
        assert_type(bare.submit(1).result(), int)
        assert_type(bare.submit(1, wait_for=[bare.submit(1)]).result(), int)
        assert_type(called.submit(1).result(), str)
        assert_type(coroutine.submit(1).result(), int)
        assert_type(called_coroutine.submit(1).result(), str)
        assert_type(Holder().method.submit(1).result(), int)
        assert_type(Holder().amethod.submit(1).result(), str)
        assert_type(bare.map([1, 2], word=unmapped("x")), FutureList[int])
        assert_type(bare.map([1, 2]).result(), list[int])
        assert_type(coroutine.map([1, 2]).result(), list[int])
        assert_type(called.map(allow_failure([1, 2])).result(), list[str])
        for future in as_completed(bare.map([1])):
            assert_type(future.result(), int)
        assert_type(wait(bare.map([1])).done, set[Future[int]])
        assert_type(bare.submit(1, return_state=True), State[int])
        assert_type(bare.submit(1, return_state=True, wait_for=[]).result(), int)
        assert_type(called_coroutine.submit(1, return_state=True), State[str])
        assert_type(Holder().method.submit(1, return_state=True), State[int])
        assert_type(bare.map([1, 2], return_state=True), list[State[int]])
        assert_type(coroutine.map([1, 2], return_state=True), list[State[int]])
        assert_type(called.map(bare.map([1]), return_state=True)[0].result(), str)

    submitting()


async def _awaited() -> None:
    assert_type(await coroutine(1), int)
    assert_type(await coroutine(1, return_state=True), State[int])
    assert_type(await Holder().amethod(1), str)
    assert_type(await coroutine.submit(1), int)
    assert_type(await called_coroutine.submit(1), str)
    assert_type(await bare.submit(1), int)
    assert_type(await coroutine.map([1]), list[int])
    async for future in as_completed(called.map([1])):
        assert_type(await future, str)


def test_awaited(eventflow_isolated: Isolated) -> None:
    """What is awaited has the type of the result."""
    asyncio.run(flow(_awaited)())


def test_marks(eventflow_isolated: Isolated) -> None:
    """A mark knows the type of what it marks."""
    assert_type(quote([1]), quote[list[int]])
    assert_type(quote([1]).unquote(), list[int])
    assert_type(opaque(1).value, int)
    assert_type(opaque(1).unwrap(), int)
    assert_type(flow(lambda: quote(1))().unquote(), int)

    @flow
    def main() -> list[int]:
        return bare.map([1, 2], opaque("x")).result()

    assert main() == [1, 2]


def test_wrong_arguments(eventflow_isolated: Isolated) -> None:
    """A wrong argument of a call or a submission is an error of both type checkers."""
    bare("a")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    with pytest.raises(Exception, match="number"):
        bare()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]

    @flow
    def submitting() -> None:
        bare.submit("a").wait()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
        Holder().method.submit("a").wait()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]

    submitting()


def test_options() -> None:
    """Options have types, and so have a task that is made without a decorator and a copy."""

    def add(number: int, more: int = 1) -> int:
        return number + more

    made = Task(add, name="add", retry_jitter_factor=1)
    assert_type(made(1), int)
    assert_type(task(add, name="add")(1), int)
    assert_type(made.with_options(refresh_cache=True)(1), int)
    assert_type(made.retry_jitter_factor, float | None)
    assert_type(made.task_run_name, str | Callable[..., str] | None)
    with pytest.raises(TypeError):
        Task(add, refresh_cache="no")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_wrong_options() -> None:
    """A wrong option is an error of both type checkers, and at decoration."""
    with pytest.raises(TypeError):
        task(retires=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError):
        task(on_failure=["x"])(lambda: None)  # type: ignore[list-item]  # pyright: ignore[reportCallIssue, reportArgumentType]


def test_the_type_of_a_task() -> None:
    """A task can be annotated with its parameters and its result."""
    held: Task[[int], int] = task(lambda number: number + 1)

    assert held(1) == 2


@task
def anything(number: int) -> Any:
    return number


@task
async def aanything(number: int) -> Any:
    return number


def test_any(eventflow_isolated: Isolated) -> None:
    """What may be anything stays so, and is not taken for a coroutine."""

    @flow
    def main() -> Any:
        assert_type(anything(1), Any)
        assert_type(anything.submit(1).result(), Any)
        assert_type(anything.map([1]).result(), list[Any])
        assert_type(anything.submit(1, return_state=True), State[Any])
        assert_type(anything.map([1], return_state=True), list[State[Any]])
        return anything(1, return_state=True).result()

    assert_type(main(), Any)
    assert asyncio.run(aanything(1)) == 1
