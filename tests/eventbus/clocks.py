"""A clock that a test moves, what was heard by then, and runs of each kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest

from eventflow import flow, task
from eventflow.eventbus import deadlines
from eventflow.eventbus.deadlines import Timer
from eventflow.events import StateLasted
from eventflow.states import AnyState

__all__ = [
    "Clock",
    "Heard",
    "a_flow",
    "a_task",
    "an_async_flow",
    "an_async_task",
    "call",
    "every_kind",
    "timer_on",
]


class Clock:
    """A clock that stands still until it is moved; then what is due by then is told of."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move the clock, and return when everything that is due was told of."""
        self.now += seconds
        deadlines.timer.run()
        deadlines.workers.finish()


@contextmanager
def timer_on(clock: Clock) -> Iterator[None]:
    """Have deadlines told of by a timer that looks when a test tells it to, and then only.

    The thread of timers may still be asked to look by what earlier tests have planned.
    """
    portal = mock.Mock(call_later=lambda *_: lambda: None)
    with (
        mock.patch.object(deadlines, "timer", Timer(clock)),
        mock.patch.object(deadlines, "timer_portal", portal),
    ):
        yield
        deadlines.workers.finish()


class Heard:
    """What hooks and listeners were given."""

    def __init__(self) -> None:
        self.all: list[Any] = []

    def hook(self, definition: Any, run: Any, state: AnyState) -> None:
        """Note the arguments of a hook."""
        self.all.append((definition.name, run.state_name, state.name))

    def listen(self, event: StateLasted) -> None:
        """Note an event."""
        self.all.append(event)


def a_flow(body: Callable[[], object], **options: Any) -> Any:
    return flow(name="it", **options)(body)


def a_task(body: Callable[[], object], **options: Any) -> Any:
    return task(name="it", **options)(body)


def an_async_flow(body: Callable[[], object], **options: Any) -> Any:
    async def work() -> None:
        body()

    made = flow(name="it", **options)(work)
    made.on_completion(lambda *_: None)

    return made


def an_async_task(body: Callable[[], object], **options: Any) -> Any:
    async def work() -> None:
        body()

    return task(name="it", **options)(work)


def call(definition: Any) -> None:
    if definition.isasync:
        asyncio.run(definition())
    else:
        definition()


every_kind = pytest.mark.parametrize("make", [a_flow, a_task, an_async_flow, an_async_task])
