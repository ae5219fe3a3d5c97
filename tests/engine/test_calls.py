"""Calling a definition: when its run begins, and what the caller gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest

from eventflow import flow, task
from eventflow.errors import UnfinishedRun
from eventflow.events import Event
from eventflow.states import Completed, Failed

both = pytest.mark.parametrize("decorate", [flow, task])


@both
def test_a_sync_call_gives_its_result_or_its_state(
    decorate: Any, eventflow_events: list[Event]
) -> None:
    """The run has ended when the call returns, whichever of the two is asked for."""

    @decorate
    def double(number: int) -> int:
        return 2 * number

    assert double(21) == 42
    state = double(4, return_state=True)
    assert (state.name, state.data) == ("Completed", 8)
    assert len(eventflow_events) == 6


@both
def test_an_async_call_begins_when_it_is_awaited(
    decorate: Any, eventflow_events: list[Event]
) -> None:
    """Nothing is published for a coroutine before it is awaited."""

    @decorate
    async def double(number: int) -> int:
        return 2 * number

    async def main() -> None:
        waiting = double(21)
        assert eventflow_events == []
        assert await waiting == 42
        assert (await double(4, return_state=True)).data == 8

    asyncio.run(main())
    assert len(eventflow_events) == 6


@both
def test_a_generator_begins_with_its_first_item(
    decorate: Any, eventflow_events: list[Event]
) -> None:
    """It returns its state if that is asked for; an async generator cannot."""

    @decorate
    def items() -> Generator[int, None, str]:
        yield 1
        return "end"

    @decorate
    async def aitems() -> AsyncGenerator[int, None]:
        yield 1

    def consume() -> Generator[int, None, Any]:
        return (yield from items(return_state=True))

    talk = consume()
    assert eventflow_events == []
    assert next(talk) == 1
    with pytest.raises(StopIteration) as end:
        next(talk)
    assert end.value.value.data == "end"
    with pytest.raises(TypeError, match="cannot return its state"):
        aitems(return_state=True)


@both
def test_a_call_waits_for_what_it_is_told_to(decorate: Any, eventflow_isolated: object) -> None:
    """The body is called after all have completed, and not at all if any did not."""

    @decorate
    def after() -> str:
        return "ran"

    assert after(wait_for=[Completed()]) == "ran"
    with pytest.raises(UnfinishedRun, match="did not complete"):
        after(wait_for=[Completed(), Failed(message="no")])


@pytest.mark.parametrize(
    "name", ["self", "args", "kwargs", "name", "fn", "definition", "invocation", "function"]
)
@pytest.mark.parametrize("decorate", [flow, task], ids=["flow", "task"])
def test_a_parameter_of_any_name(decorate: Any, name: str) -> None:
    """It can be given by that name, whatever the names inside of the engine are."""
    scope: dict[str, Any] = {}
    exec(f"def body({name}): return {name} + 1", scope)
    definition = decorate(**{f"{decorate.__name__}_run_name": f"run-{{{name}}}"})(scope["body"])

    assert definition(**{name: 1}) == 2


@pytest.mark.parametrize("name", ["self", "args", "kwargs", "name", "definition", "calls"])
def test_a_submitted_parameter_of_any_name(name: str) -> None:
    """Submitted and mapped, too."""
    scope: dict[str, Any] = {}
    exec(f"def body({name}): return {name} + 1", scope)
    work = task(scope["body"])

    @flow
    def main() -> list[int]:
        return [work.submit(**{name: 1}).result(), *work.map(**{name: [2, 3]}).result()]

    assert main() == [2, 3, 4]
