"""How runs end that are stopped: cancelled, crashed, timed out, and what is within them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from eventflow import bus, flow
from eventflow.errors import CancelledRun, TerminationSignal
from eventflow.events import Event, StateTransition
from eventflow.states import (
    AnyState,
    Cancelled,
    Cancelling,
)
from tests.engine.kinds import KINDS, Kind, raising
from tests.engine.transitions import checked_state_names


def test_cancelled_while_running(kind: Kind, eventflow_events: list[Event]) -> None:
    """What eventflow is asked to cancel goes through Cancelling to Cancelled."""
    bus.subscribe(lambda event: event.run.cancel(), state="Running", name="work")
    definition = kind.declare(kind.wait_forever)
    with pytest.raises(CancelledRun):
        kind.execute(definition)

    assert checked_state_names(eventflow_events) == [
        "Pending",
        "Running",
        "Cancelling",
        "Cancelled",
    ]


def test_cancelled_before_it_began(kind: Kind, eventflow_events: list[Event]) -> None:
    """A run that is cancelled while Pending never runs its body."""
    bus.subscribe(lambda event: event.run.cancel(), state="Pending", name="work")
    called: list[int] = []
    state = kind.state(kind.declare(lambda: called.append(1)))

    assert state.is_cancelled()
    assert state.message == "The run was cancelled before its body began."
    assert not called
    assert checked_state_names(eventflow_events) == ["Pending", "Cancelling", "Cancelled"]


def test_cancelled_while_awaiting_retry(kind: Kind, eventflow_events: list[Event]) -> None:
    """A cancellation ends the delay before a retry."""
    bus.subscribe(lambda event: event.run.cancel(), state="AwaitingRetry", name="work")
    state = kind.state(kind.declare(raising(ValueError()), retries=1, retry_delay_seconds=3600))

    assert state.is_cancelled()
    assert state.message == "The run was cancelled between attempts 1 and 2."
    assert checked_state_names(eventflow_events) == [
        "Pending",
        "Running",
        "AwaitingRetry",
        "Cancelling",
        "Cancelled",
    ]


def test_cancelled_without_a_delay_before_the_retry(kind: Kind) -> None:
    """Between two attempts that nothing lies between, the message says so as well."""
    with bus.subscribe(lambda event: event.run.cancel(), state="AwaitingRetry", name="work"):
        state = kind.state(kind.declare(raising(ValueError()), retries=1))

    assert state.is_cancelled()
    assert state.message == "The run was cancelled between attempts 1 and 2."


@pytest.mark.parametrize("make", [Cancelling, Cancelled])
def test_a_body_returns_its_cancellation(
    kind: Kind, make: Callable[..., AnyState], eventflow_events: list[Event]
) -> None:
    """A body that returns Cancelling or Cancelled is cancelled like any other."""
    seen: list[str] = []
    hooks = [lambda definition, run, state: seen.append(state.name)]
    state = kind.state(
        kind.declare(lambda: make(message="enough"), on_cancellation=hooks, retries=2)
    )

    assert (state.name, state.message) == ("Cancelled", "enough")
    assert checked_state_names(eventflow_events) == [
        "Pending",
        "Running",
        "Cancelling",
        "Cancelled",
    ]
    assert seen == ["Cancelling"]


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), TerminationSignal()], ids=repr
)
def test_crashed(kind: Kind, error: BaseException, eventflow_events: list[Event]) -> None:
    """An exit or an interrupt crashes the run, runs its hooks, and propagates."""
    seen: list[str] = []
    hooks = [lambda definition, run, state: seen.append(state.name)]
    with pytest.raises(type(error)) as caught:
        kind.execute(kind.declare(raising(error), retries=2, on_crashed=hooks))

    assert caught.value is error
    assert seen == ["Crashed"]
    assert checked_state_names(eventflow_events) == ["Pending", "Running", "Crashed"]


@pytest.mark.parametrize("run_type", ["flow", "task"])
def test_cancelled_from_outside(run_type: str, eventflow_events: list[Event]) -> None:
    """asyncio's cancellation of the task that executes a run crashes the run."""
    kind = Kind(run_type, is_async=True)
    definition = kind.declare(kind.wait_forever)

    async def main() -> None:
        running = asyncio.ensure_future(definition())
        await bus.wait_for(state="Running", timeout=5)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert running.cancelled()

    asyncio.run(main())
    assert checked_state_names(eventflow_events) == ["Pending", "Running", "Crashed"]


def test_a_body_that_raises_generator_exit(kind: Kind, eventflow_events: list[Event]) -> None:
    """A GeneratorExit out of a plain body crashes the run, also with tasks still open."""
    body = raising(GeneratorExit())
    with pytest.raises(GeneratorExit):
        kind.execute(kind.declare(body))

    assert checked_state_names(eventflow_events) == ["Pending", "Running", "Crashed"]
    last = eventflow_events[-1]
    assert isinstance(last, StateTransition)
    assert last.to_state.message == "The run was ended by GeneratorExit."


@pytest.mark.parametrize("run_type", ["flow", "task"])
def test_a_broken_driver(run_type: str, eventflow_events: list[Event]) -> None:
    """A coroutine that is closed while its body waits crashes the run."""
    kind = Kind(run_type, is_async=True)

    async def main() -> None:
        coroutine = kind.declare(kind.wait_forever)()
        coroutine.send(None)
        coroutine.close()

    asyncio.run(main())
    assert checked_state_names(eventflow_events) == ["Pending", "Running", "Crashed"]


# -- nesting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("outer", KINDS, ids=str)
@pytest.mark.parametrize("inner", KINDS, ids=str)
def test_nesting(outer: Kind, inner: Kind, eventflow_events: list[Event]) -> None:
    """A run within a run knows its parent, its flow run and the root, in every combination."""
    leaf = inner.declare(lambda: 1, name="leaf")
    around = flow(name="root")

    def body() -> Any:
        if inner.is_async and not outer.is_async:
            return asyncio.run(leaf())
        return leaf()

    middle = outer.declare(body, name="middle")
    if outer.is_async:

        async def aroot() -> Any:
            return await middle()

        result = asyncio.run(around(aroot)())
    else:
        result = around(middle)()

    assert result == 1
    firsts: dict[str, StateTransition] = {}
    for event in eventflow_events:
        assert isinstance(event, StateTransition)
        firsts.setdefault(event.definition_name, event)
    root, mid, end = firsts["root"], firsts["middle"], firsts["leaf"]
    assert (root.parent_run_id, root.flow_run_id) == (None, root.run_id)
    assert mid.parent_run_id == root.run_id
    assert end.parent_run_id == mid.run_id
    assert {event.root_flow_run_id for event in (root, mid, end)} == {root.run_id}
    assert mid.flow_run_id == (mid.run_id if outer.run_type == "flow" else root.run_id)
    assert end.flow_run_id == (end.run_id if inner.run_type == "flow" else mid.flow_run_id)
    for name in ("root", "middle", "leaf"):
        assert checked_state_names(eventflow_events, name) == ["Pending", "Running", "Completed"]
    ended = [
        event.definition_name
        for event in eventflow_events
        if isinstance(event, StateTransition) and event.to_state.is_final()
    ]
    assert ended == ["leaf", "middle", "root"]


@pytest.mark.parametrize("is_async", [False, True])
def test_what_a_cancelled_flow_was_in_is_cancelled(
    is_async: bool, eventflow_events: list[Event]
) -> None:
    """Cancelling a flow cancels the runs within it, from the inside out."""
    kind = Kind("flow", is_async)
    inner = Kind("task", is_async).declare(kind.wait_forever, name="inner")
    outer: Any = None
    bus.subscribe(lambda event: outer.cancel(), state="Running", name="inner")

    def remember(definition: Any, run: Any, state: AnyState) -> None:
        nonlocal outer
        outer = run

    state = kind.state(kind.declare(inner, on_running=[remember]))
    assert state.is_cancelled()
    assert checked_state_names(eventflow_events) == [
        "Pending",
        "Running",
        "Cancelling",
        "Cancelled",
    ]
    assert checked_state_names(eventflow_events, "inner") == [
        "Pending",
        "Running",
        "Cancelling",
        "Cancelled",
    ]


@pytest.mark.parametrize("is_async", [False, True])
def test_what_runs_in_a_flow_that_times_out_is_cancelled(
    is_async: bool, eventflow_events: list[Event]
) -> None:
    """The timeout of a flow cancels the run within it and is itself TimedOut."""
    kind = Kind("flow", is_async)
    inner = Kind("task", is_async).declare(kind.wait_forever, name="inner")
    state = kind.state(kind.declare(inner, timeout_seconds=0.05))

    assert state.name == "TimedOut"
    assert checked_state_names(eventflow_events) == ["Pending", "Running", "TimedOut"]
    assert checked_state_names(eventflow_events, "inner") == [
        "Pending",
        "Running",
        "Cancelling",
        "Cancelled",
    ]


def test_a_timeout_in_another_thread(eventflow_events: list[Event]) -> None:
    """A sync run is stopped by its timeout in a thread that is not the main one, too."""
    import contextvars

    def body() -> None:
        turns = threading.Event()
        while not turns.wait(0.001):
            pass

    stuck = flow(name="work", timeout_seconds=0.05)(body)
    states: list[AnyState] = []
    context = contextvars.copy_context()
    thread = threading.Thread(
        target=lambda: states.append(context.run(lambda: stuck(return_state=True)))
    )
    thread.start()
    thread.join(30)

    assert [state.name for state in states] == ["TimedOut"]
    assert checked_state_names(eventflow_events) == ["Pending", "Running", "TimedOut"]


# -- what a hook lets through -------------------------------------------------------------------


@pytest.mark.parametrize("state", ["Pending", "Running", "Completed"])
def test_an_interrupt_in_a_hook(kind: Kind, state: str, eventflow_events: list[Event]) -> None:
    """An exit in a hook propagates once the remaining hooks have run and the run has ended."""
    seen: list[str] = []
    definition = kind.declare(lambda: 1)

    @definition.on(state)
    def leave(definition: Any, run: Any, state: AnyState) -> None:
        raise SystemExit(4)

    @definition.on(state, "Crashed")
    def later(definition: Any, run: Any, state: AnyState) -> None:
        seen.append(state.name)

    with pytest.raises(SystemExit):
        kind.execute(definition)
    if state == "Completed":
        assert checked_state_names(eventflow_events) == ["Pending", "Running", "Completed"]
        assert seen == ["Completed"]
    else:
        assert checked_state_names(eventflow_events)[-1] == "Crashed"
        assert seen == [state, "Crashed"]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kept", [False, True])
def test_cancelled_while_its_key_is_made(
    is_async: bool, kept: bool, eventflow_events: list[Event]
) -> None:
    """A cancellation wins over a cached result, and over a body that has not begun."""
    kind = Kind("task", is_async)

    def key_fn(context: Any, parameters: Any) -> str:
        if ready:
            context.run.cancel()
        return "key" if kept else "other"

    ready = False
    definition = kind.declare(lambda: 1, cache_key_fn=key_fn)
    if kept:
        kind.execute(definition)
        eventflow_events.clear()
    ready = True
    assert kind.state(definition).is_cancelled()
    assert checked_state_names(eventflow_events) == ["Pending", "Cancelling", "Cancelled"]


def test_a_body_that_swallows_its_cancellation(eventflow_events: list[Event]) -> None:
    """A body that returns despite its cancellation is cancelled all the same."""
    bus.subscribe(lambda event: event.run.cancel(), state="Running", name="work")

    async def body() -> str:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return "swallowed"
        return "slept"

    state = Kind("flow", is_async=True).state(flow(name="work")(body))
    assert state.is_cancelled()
    assert checked_state_names(eventflow_events) == [
        "Pending",
        "Running",
        "Cancelling",
        "Cancelled",
    ]
