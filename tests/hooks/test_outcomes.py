"""Where the outcomes of hooks are published: on the bus of the run, whichever is in force."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from eventflow import Event, EventBus, Hook, bus, flow, hook, task, use_bus
from eventflow.events import HookDeadLettered, HookFailed, HookSucceeded

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


def nothing(*_: Any) -> None:
    """Be a hook."""


async def anothing(*_: Any) -> None:
    """Be an async hook."""


def fail(*_: Any) -> None:
    raise ValueError("no")


async def afail(*_: Any) -> None:
    fail()


def by_consuming(hooks: Any, first: EventBus, second: EventBus) -> None:
    """Begin a generator on one bus and consume it on another."""

    @flow(hooks=hooks)
    def rows() -> Iterator[int]:
        yield 1
        yield 2

    with use_bus(first):
        found = rows()
        next(found)
    with use_bus(second):
        list(found)


def by_consuming_async(hooks: Any, first: EventBus, second: EventBus) -> None:
    """Do the same with an async generator."""

    @flow(hooks=hooks)
    async def rows() -> AsyncIterator[int]:
        yield 1
        yield 2

    async def main() -> None:
        with use_bus(first):
            found = rows()
            await anext(found)
        with use_bus(second):
            async for _ in found:
                pass

    asyncio.run(main())


def by_nesting(hooks: Any, first: EventBus, second: EventBus) -> None:
    """Put another bus in force from a hook on, which comes before those under test."""
    entered = use_bus(second)

    def enter(*_: Any) -> None:
        entered.__enter__()

    with use_bus(first):
        task(hooks=[Hook(enter, state="Completed"), *hooks])(nothing)()
    entered.__exit__(None, None, None)


def by_submitting(hooks: Any, first: EventBus, second: EventBus) -> None:
    """Submit a task, and wait for it with another bus in force."""
    work = task(hooks=hooks)(nothing)

    @flow
    def outer() -> None:
        with use_bus(first):
            future = work.submit()
        with use_bus(second):
            future.wait()

    outer()


WAYS = {
    "consumed": by_consuming,
    "consumed in async code": by_consuming_async,
    "nested": by_nesting,
    "submitted": by_submitting,
}


@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("timeout", [None, 30])
def test_outcomes_are_on_the_bus_of_the_run(way: str, failing: bool, timeout: float | None) -> None:
    """Of sync and async hooks, retried and dead-lettered, declared and global; on no other."""
    first, second = EventBus(), EventBus()
    heard: list[type[Event]] = []
    elsewhere: list[Event] = []
    for kind in (HookSucceeded, HookFailed, HookDeadLettered):
        first.subscribe(lambda event: heard.append(type(event)), event_type=kind)
        second.subscribe(elsewhere.append, event_type=kind)
        bus.subscribe(elsewhere.append, event_type=kind)
    fns: list[Callable[..., Any]] = [fail, afail] if failing else [nothing, anothing]
    with use_bus(first):
        hook(state="Completed", timeout_seconds=timeout, retries=1)(fns[0])
    hooks = [Hook(fn, state="Completed", timeout_seconds=timeout, retries=1) for fn in fns]
    WAYS[way](hooks, first, second)

    expected = [HookFailed, HookFailed, HookDeadLettered] if failing else [HookSucceeded]
    before = [HookSucceeded] if way == "nested" else []
    assert heard == [*before, *(expected * 3)]
    assert elsewhere == []
