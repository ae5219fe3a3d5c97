"""What type checkers infer for hooks of states that last, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, assert_type

import pytest

from eventflow import Flow, Hook, State, bus, flow, hook, task
from eventflow.eventbus import Subscription
from eventflow.events import StateLasted


def page(definition: Any, run: Any, state: State[Any]) -> int:
    return 1


Page = Callable[[Any, Any, State[Any]], int]


def a_page() -> Page:
    return page


@pytest.mark.usefixtures("eventflow_isolated")
def test_decorators_leave_the_function_as_it_is() -> None:
    """With a time in seconds or as a timedelta."""

    @flow(on_end=[page], on_overdue=[page, Hook(page, overdue_seconds=5)], overdue_seconds=1.5)
    def nightly(n: int, /) -> str:
        return str(n)

    assert_type(nightly, Flow[[int], str])

    @task(overdue_seconds=timedelta(minutes=1), on_overdue=[page])
    def step() -> None: ...

    first = a_page()
    assert_type(nightly.on("Running", lasting=1800)(first), Page)
    assert_type(nightly.on_overdue(after=timedelta(hours=2))(first), Page)
    assert_type(nightly.on_overdue(first), Page)
    assert_type(nightly.on_end(first), Page)
    assert_type(step.on_overdue(after=1)(first), Page)
    assert_type(hook(state="Pending", lasting=timedelta(minutes=1))(first), Page)
    assert_type(hook(overdue_seconds=60)(first), Page)
    assert_type(Hook(page, state="Pending", lasting=60).lasting, float | None)
    assert_type(nightly.with_options(overdue_seconds=3), Flow[[int], str])


@pytest.mark.usefixtures("eventflow_isolated")
def test_listeners() -> None:
    """They are told by an event that is typed."""

    def listen(event: StateLasted) -> None:
        assert_type(event.lasting, float)
        assert_type(event.is_overdue, bool)

    assert_type(bus.subscribe(listen, state="Running", lasting=30), Subscription)
    waiting = bus.wait_for(state="Running", lasting=timedelta(seconds=1))
    assert_type(waiting, Coroutine[Any, Any, Any]).close()


@pytest.mark.usefixtures("eventflow_isolated")
def test_what_is_refused() -> None:
    """By type checkers, and when it is declared."""

    @flow
    def nightly() -> None: ...

    with pytest.raises(TypeError):
        Hook(page, lasting="60")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError):
        nightly.on("Running", lasting="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        nightly.on("Running", lasting="1")(page)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError):
        nightly.on_overdue(after="1")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
