"""Runs that are taken over from cancelled bodies which do not stop, and what their callers get."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncGenerator, Generator, Iterator
from typing import Any

import pytest

from eventflow import bus, flow, task
from eventflow.context import get_run_context
from eventflow.engine import takeover
from eventflow.errors import CancelledRun, CrashedRun
from eventflow.events import Event, StateTransition
from eventflow.interrupts import scopes
from eventflow.interrupts.masks import Interrupted
from eventflow.settings import temporary_settings
from eventflow.states import AnyState
from tests.engine.transitions import state_names

pytestmark = pytest.mark.usefixtures("eventflow_isolated")

CANCELLED = ["Pending", "Running", "Cancelling", "Cancelled"]
CRASHED = ["Pending", "Running", "Cancelling", "Crashed"]


@pytest.fixture(autouse=True)
def _short_times(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(scopes, "GRACE_SECONDS", 0.01)
    monkeypatch.setattr(takeover, "REINTERRUPT_SECONDS", 0.02)
    with temporary_settings({"EVENTFLOW_CANCEL_SECONDS": 0.2}):
        yield


class Hooks:
    """Hooks that record the states they saw, and set an event for Cancelling and for Crashed."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.cancelling = threading.Event()
        self.crashed = threading.Event()

    def options(self) -> dict[str, Any]:
        """Return the options to declare a definition with."""
        return {"on_cancellation": [self.note], "on_crashed": [self.note], "name": "work"}

    def note(self, definition: Any, run: Any, state: AnyState) -> None:
        """Record the state; this is the hook."""
        self.seen.append(state.name)
        (self.crashed if state.is_crashed() else self.cancelling).set()


def swallow_until(event: threading.Event, run: Any = None) -> None:
    """Cancel the own run, and swallow what is raised until an event is set."""
    until = time.monotonic() + 20
    while not event.is_set():
        assert time.monotonic() < until
        try:
            (run or get_run_context().run).cancel()
            while not event.is_set() and time.monotonic() < until:
                time.sleep(0.001)
        except Interrupted:
            pass


async def aswallow_until(event: threading.Event) -> None:
    """Cancel the own run, and swallow what is raised until an event is set."""
    until = time.monotonic() + 20
    while not event.is_set():
        assert time.monotonic() < until
        get_run_context().run.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.001)


@pytest.fixture
def cancelled(eventflow_isolated: None) -> None:
    """Cancel the run named `work` when it is Running."""
    bus.subscribe(lambda event: event.run.cancel(), state="Running", name="work")


@pytest.mark.parametrize("decorate", [flow, task])
def test_a_body_in_the_main_thread_that_swallows(
    decorate: Any, eventflow_events: list[Event]
) -> None:
    """Its run is Crashed while it goes on; its late result is dropped."""
    hooks = Hooks()

    @decorate(**hooks.options())
    def work() -> str:
        swallow_until(hooks.crashed)
        return "late"

    with pytest.raises(CrashedRun, match=r"did not stop within 0\.2 s of its cancellation"):
        work()
    assert hooks.seen == ["Cancelling", "Crashed"]
    assert state_names(eventflow_events) == CRASHED


def test_a_body_is_interrupted_again_when_its_time_is_over(eventflow_events: list[Event]) -> None:
    """A body that swallows a single interrupt does not block its caller for ever."""

    @flow(name="work")
    def work() -> None:
        try:
            get_run_context().run.cancel()
            time.sleep(3600)
        except Interrupted:
            time.sleep(3600)

    with pytest.raises(CrashedRun):
        work()
    assert state_names(eventflow_events) == CRASHED


@pytest.mark.usefixtures("cancelled")
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("decorate", [flow, task])
def test_a_body_that_cleans_up(
    is_async: bool, decorate: Any, eventflow_events: list[Event]
) -> None:
    """The run is Cancelling while the body cleans up, and Cancelled when it has."""
    hooks = Hooks()
    loops: list[object] = []

    async def ahook(definition: Any, run: Any, state: AnyState) -> None:
        loops.append(asyncio.get_running_loop())

    def work() -> None:
        try:
            get_run_context().run.cancel()
            time.sleep(3600)
        finally:
            assert hooks.cancelling.wait(30)

    async def awork() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            while not hooks.cancelling.is_set():  # noqa: ASYNC110 - set by another thread
                await asyncio.sleep(0.001)
            loops.append(asyncio.get_running_loop())

    definition = decorate(**hooks.options())(awork if is_async else work)
    definition.on_cancellation(ahook)
    with temporary_settings({"EVENTFLOW_CANCEL_SECONDS": 30}), pytest.raises(CancelledRun):
        asyncio.run(definition()) if is_async else definition()
    assert hooks.seen == ["Cancelling"]
    assert state_names(eventflow_events) == CANCELLED
    assert not is_async or loops[0] is loops[1]


def test_a_task_that_cannot_be_interrupted(eventflow_events: list[Event]) -> None:
    """The run of a worker thread that blocks in C code is abandoned, and its waiter goes on."""
    hooks = Hooks()
    begun, go = threading.Event(), threading.Event()

    @task(**hooks.options())
    def work() -> str:
        begun.set()
        go.wait()
        return "late"

    @flow
    def around() -> str:
        future = work.submit()
        assert begun.wait(30)
        assert future.cancel()
        with pytest.raises(CrashedRun):
            future.result()
        return "went on"

    try:
        assert around() == "went on"
    finally:
        go.set()
    assert state_names(eventflow_events) == CRASHED


def test_a_flow_does_not_wait_for_ever_for_the_tasks_it_cancels(
    eventflow_events: list[Event],
) -> None:
    """A flow that fails ends when the run of its blocked task is abandoned."""
    begun, go = threading.Event(), threading.Event()

    @task(name="work")
    def work() -> None:
        begun.set()
        go.wait()

    @flow(name="around")
    def around() -> None:
        work.submit()
        assert begun.wait(30)
        raise ValueError

    try:
        with pytest.raises(ValueError):  # noqa: PT011 - the body's own
            around()
    finally:
        go.set()
    assert state_names(eventflow_events) == CRASHED
    assert state_names(eventflow_events, "around") == ["Pending", "Running", "Failed"]


@pytest.mark.usefixtures("cancelled")
@pytest.mark.parametrize("decorate", [flow, task])
def test_an_async_body_that_swallows(decorate: Any, eventflow_events: list[Event]) -> None:
    """Its caller goes on without it, and so does the event loop."""
    hooks = Hooks()

    @decorate(**hooks.options())
    async def work() -> None:
        await aswallow_until(threading.Event())

    async def main() -> int:
        with pytest.raises(CrashedRun):
            await work()
        current = asyncio.current_task()
        assert current is not None
        return current.cancelling()

    assert asyncio.run(main()) == 0
    assert hooks.seen == ["Cancelling", "Crashed"]
    assert state_names(eventflow_events) == CRASHED


@pytest.mark.usefixtures("cancelled")
def test_an_async_body_that_blocks_its_loop(eventflow_events: list[Event]) -> None:
    """Its run is ended without the event loop, which does not respond."""
    hooks = Hooks()

    @flow(**hooks.options())
    async def work() -> None:
        while not hooks.crashed.is_set():
            time.sleep(0.001)  # noqa: ASYNC251 - it blocks its loop

    with pytest.raises(CrashedRun):
        asyncio.run(work())
    assert state_names(eventflow_events) == CRASHED


def test_a_submitted_async_task_that_swallows(eventflow_events: list[Event]) -> None:
    """Its flow goes on."""

    @task(name="work")
    async def work() -> None:
        await aswallow_until(threading.Event())

    @flow
    async def around() -> str:
        future = work.submit()
        await asyncio.sleep(0.01)
        future.cancel()
        with pytest.raises(CrashedRun):
            await future
        return "went on"

    assert asyncio.run(around()) == "went on"
    assert state_names(eventflow_events) == CRASHED


@pytest.mark.parametrize("is_async", [False, True])
def test_children_are_abandoned_before_their_parents(
    is_async: bool, eventflow_events: list[Event]
) -> None:
    """A cancelled run cancels the child whose body swallows, and waits for its end."""
    hooks = Hooks()

    @task(name="inner")
    def inner() -> None:
        swallow_until(hooks.crashed, get_run_context().flow_run)

    @task(name="inner")
    async def ainner() -> None:
        get_run_context().flow_run.cancel()  # type: ignore[union-attr]
        await aswallow_until(hooks.crashed)

    @flow(**hooks.options())
    def work() -> None:
        inner()

    @flow(**hooks.options())
    async def awork() -> None:
        await ainner()

    with pytest.raises(CancelledRun if is_async else CrashedRun):
        asyncio.run(awork()) if is_async else work()
    assert state_names(eventflow_events, "inner") == CRASHED
    # A sync body is blocked by its child's; an async one has gone on without it, and ended.
    assert state_names(eventflow_events) == (CANCELLED if is_async else CRASHED)
    last = [event for event in eventflow_events if isinstance(event, StateTransition)][-1]
    assert (last.definition_name, last.to_state.name) == ("work", state_names(eventflow_events)[-1])


def test_no_run_begins_in_a_body_that_goes_on(eventflow_events: list[Event]) -> None:
    """A task that is called after its flow is Cancelling is cancelled, too."""
    hooks = Hooks()
    called: list[int] = []

    @task(name="inner")
    async def inner() -> None:
        called.append(1)

    @flow(**hooks.options())
    async def work() -> None:
        await aswallow_until(hooks.cancelling)
        await inner()

    with temporary_settings({"EVENTFLOW_CANCEL_SECONDS": 30}), pytest.raises(CancelledRun):
        asyncio.run(work())
    assert not called
    assert state_names(eventflow_events, "inner") == ["Pending", "Cancelling", "Cancelled"]
    assert state_names(eventflow_events) == CANCELLED


def test_an_exit_out_of_an_abandoned_body(eventflow_events: list[Event]) -> None:
    """The run stays Crashed, and the exit is raised."""
    hooks = Hooks()

    def work() -> None:
        swallow_until(hooks.crashed)
        raise SystemExit(3)

    async def awork() -> None:
        get_run_context().run.cancel()
        while not hooks.crashed.is_set():
            time.sleep(0.001)  # noqa: ASYNC251 - it blocks its loop
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        flow(**hooks.options())(work)()
    hooks.crashed.clear()
    with pytest.raises(SystemExit):
        asyncio.run(flow(**hooks.options())(awork)())
    assert state_names(eventflow_events) == CRASHED * 2


def test_generators_that_swallow(eventflow_events: list[Event]) -> None:
    """A generator that blocks over an item is abandoned like any other body."""
    hooks = Hooks()

    @flow(**hooks.options())
    def items() -> Generator[int, None, None]:
        swallow_until(hooks.crashed)
        yield 1

    @flow(**hooks.options())
    async def aitems() -> AsyncGenerator[int, None]:
        await aswallow_until(hooks.crashed)
        yield 1

    async def main() -> None:
        async for _ in aitems():
            pass

    with pytest.raises(CrashedRun):
        list(items())
    hooks.crashed.clear()
    with pytest.raises(CrashedRun):
        asyncio.run(main())
    assert state_names(eventflow_events) == CRASHED * 2


@pytest.mark.usefixtures("cancelled")
def test_a_coroutine_that_is_closed_after_its_run_was_taken_over(
    eventflow_events: list[Event],
) -> None:
    """The run is driven to its end without it."""

    hooks = Hooks()

    @flow(**hooks.options())
    async def work() -> None:
        await aswallow_until(threading.Event())

    async def main() -> None:
        running = work()
        running.send(None)
        while not hooks.cancelling.is_set():
            with contextlib.suppress(asyncio.CancelledError):  # it cancels this task as its own
                await asyncio.sleep(0.001)
        running.close()

    asyncio.run(main())
    for _ in range(3000):
        if len(state_names(eventflow_events)) == 4:
            break
        time.sleep(0.001)
    assert state_names(eventflow_events) == CANCELLED
