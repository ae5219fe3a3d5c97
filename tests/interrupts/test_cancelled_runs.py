"""Cancelled runs: at every point of their life, in every thread that may execute them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest

from eventflow import StateTransition, bus, cancel, flow, task
from eventflow.context import get_run_context
from eventflow.errors import CancelledRun
from eventflow.events import Event
from eventflow.interrupts.masks import Interrupted
from eventflow.interrupts.scopes import active_runs
from tests.interrupts.helpers import CANCELLED, CancellingThread, run_for_ever, states_of

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


@pytest.mark.parametrize(
    "body", [run_for_ever, lambda: time.sleep(600), lambda: threading.Event().wait()]
)
def test_a_sync_flow_in_the_main_thread_is_interrupted(
    body: Callable[[], object], eventflow_events: list[Event]
) -> None:
    """A cancellation ends a busy loop and a blocking call of the main thread."""
    canceller = CancellingThread()

    @flow(name="f")
    def f() -> None:
        canceller.begin()
        body()

    with pytest.raises(CancelledRun):
        f()
    assert canceller.answer()
    assert states_of(eventflow_events, "f") == CANCELLED


def test_a_sync_flow_in_another_thread_is_interrupted(eventflow_events: list[Event]) -> None:
    """A cancellation interrupts the body in the thread that executes it."""
    canceller = CancellingThread()
    states: list[Any] = []

    @flow(name="f")
    def f() -> None:
        canceller.begin()
        run_for_ever()

    thread = threading.Thread(
        target=copy_context().run, args=[lambda: states.append(f(return_state=True))]
    )
    thread.start()
    thread.join(30)
    assert canceller.answer()
    assert states[0].is_cancelled()
    assert states_of(eventflow_events, "f") == CANCELLED


def test_a_submitted_sync_task_is_interrupted_in_its_worker(eventflow_events: list[Event]) -> None:
    """Cancelling one task run leaves its flow alone."""
    started = threading.Event()

    @task(name="t")
    def t() -> None:
        started.set()
        run_for_ever()

    @flow(name="f")
    def f() -> bool:
        future = t.submit()
        assert started.wait(30)
        assert cancel(future.task_run_id)
        future.wait()
        return future.state.is_cancelled()

    assert f()
    assert states_of(eventflow_events, "t") == CANCELLED
    assert states_of(eventflow_events, "f") == ["Pending", "Running", "Completed"]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_cancelled_parent_ends_its_children_first(  # noqa: PLR0915 - one story, twice
    is_async: bool, eventflow_events: list[Event]
) -> None:
    """Submitted and inline children end Cancelled, each before the flow around it does."""
    started = threading.Barrier(3)

    @task(name="submitted")
    def submitted() -> None:
        started.wait(30)
        run_for_ever()

    @task(name="inline")
    def inline() -> None:
        started.wait(30)
        run_for_ever()

    @flow(name="f")
    def f() -> None:
        runs.append(get_run_context().run)
        submitted.submit()
        inline()

    @flow(name="f")
    async def af() -> None:
        runs.append(get_run_context().run)
        submitted.submit()
        inline()

    def cancel_it() -> None:
        started.wait(30)
        runs[0].cancel()

    runs: list[Any] = []
    thread = threading.Thread(target=cancel_it)
    thread.start()
    with pytest.raises(CancelledRun):
        asyncio.run(af()) if is_async else f()
    thread.join(30)
    assert states_of(eventflow_events, "submitted") == CANCELLED
    assert states_of(eventflow_events, "inline") == CANCELLED
    assert states_of(eventflow_events, "f") == CANCELLED
    last = eventflow_events[-1]
    assert isinstance(last, StateTransition)
    assert (last.definition_name, last.to_state.name) == ("f", "Cancelled")


def test_cancelled_before_its_body_begins(eventflow_events: list[Event]) -> None:
    """A run that is cancelled while it is Pending never runs its body."""
    called: list[int] = []

    @flow(name="f")
    def f() -> None:
        called.append(1)

    def stop(event: Any) -> None:
        if event.to_state.name == "Pending":
            assert event.run.cancel()

    with bus.subscribe(stop, run_type="flow"), pytest.raises(CancelledRun):
        f()
    assert not called
    assert states_of(eventflow_events, "f") == ["Pending", "Cancelling", "Cancelled"]


@pytest.mark.parametrize("is_async", [False, True])
def test_cancelled_during_the_sleep_before_a_retry(
    is_async: bool, eventflow_events: list[Event]
) -> None:
    """A cancellation does not wait for the end of a retry's delay."""

    def fails() -> None:
        raise ValueError

    async def afails() -> None:
        raise ValueError

    slow = flow(name="f", retries=1, retry_delay_seconds=600)
    states: list[Any] = []

    def later(event: Any) -> None:
        run = event.run
        threading.Thread(target=run.cancel).start()

    with bus.subscribe(later, state="AwaitingRetry"):
        if is_async:
            states.append(asyncio.run(slow(afails)(return_state=True)))
        else:
            states.append(slow(fails)(return_state=True))
    assert states[0].is_cancelled()
    assert states_of(eventflow_events, "f") == [
        "Pending", "Running", "AwaitingRetry", "Cancelling", "Cancelled",
    ]  # fmt: skip


@pytest.mark.parametrize("is_async", [False, True])
def test_cancelled_in_a_hook(is_async: bool, eventflow_events: list[Event]) -> None:
    """A hook runs to its end although it cancels its run; then the run is cancelled."""
    ended: list[str] = []

    def stop(flow: Any, run: Any, state: Any) -> None:
        assert run.cancel()
        time.sleep(0.005)
        ended.append(state.name)

    @flow(name="f", on_running=[stop])
    def f() -> None:
        run_for_ever()

    @flow(name="f", on_running=[stop])
    async def af() -> None:
        await asyncio.Event().wait()

    with pytest.raises(CancelledRun):
        asyncio.run(af()) if is_async else f()
    assert ended == ["Running"]
    assert states_of(eventflow_events, "f") == CANCELLED


def test_a_cancellation_that_was_accepted_is_never_lost(eventflow_events: list[Event]) -> None:
    """Once `cancel` has returned True the run ends Cancelled, even if its body returns."""

    @flow(name="f")
    def f() -> str:
        try:
            assert get_run_context().run.cancel()
            run_for_ever()
        except Interrupted:
            return "swallowed"
        return "not reached"

    assert f(return_state=True).is_cancelled()
    assert states_of(eventflow_events, "f") == CANCELLED


def test_cancelling_twice_or_after_the_end_is_refused(eventflow_events: list[Event]) -> None:
    """Only the first cancellation of a run that has not ended is accepted."""
    answers: list[bool] = []

    @flow(name="f")
    def f() -> None:
        run = get_run_context().run
        runs.append(run)
        try:
            run.cancel()
            run_for_ever()
        finally:
            answers.append(run.cancel())

    runs: list[Any] = []
    with pytest.raises(CancelledRun):
        f()
    answers += [runs[0].cancel(), cancel(runs[0].id)]
    assert answers == [False, False, False]
    assert states_of(eventflow_events, "f") == CANCELLED
    assert runs[0].id not in active_runs


def test_a_submitted_run_can_be_cancelled_by_id_before_it_begins(
    eventflow_events: list[Event],
) -> None:
    """A run that waits for its upstream is cancelled, and its body is never called."""
    may_end = threading.Event()
    called: list[int] = []

    @task(name="first")
    def first() -> None:
        assert may_end.wait(30)

    @task(name="second")
    def second(first: object) -> None:
        called.append(1)

    @flow(name="f")
    def f() -> bool:
        upstream = first.submit()
        future = second.submit(first=upstream, wait_for=None)
        accepted = cancel(future.task_run_id)
        may_end.set()
        future.wait()
        return accepted and future.state.is_cancelled()

    assert f()
    assert not called
    assert states_of(eventflow_events, "second") == ["Pending", "Cancelling", "Cancelled"]
