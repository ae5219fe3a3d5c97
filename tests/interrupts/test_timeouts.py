"""Timeouts of runs: around each other, and around each attempt."""

from __future__ import annotations

import asyncio

import pytest

from eventflow import flow, task
from eventflow.context import get_run_context
from eventflow.events import Event
from eventflow.interrupts.scopes import CancelScope, Reason
from tests.interrupts.helpers import CANCELLED, run_for_ever, states_of

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


def test_an_inner_timeout_leaves_the_outer_run_alone(eventflow_events: list[Event]) -> None:
    """A task's timeout ends the task; its flow goes on."""

    @task(name="t", timeout_seconds=0.01)
    def t() -> None:
        run_for_ever()

    @flow(name="f", timeout_seconds=600)
    def f() -> str:
        return t(return_state=True).name

    assert f() == "TimedOut"
    assert states_of(eventflow_events, "t") == ["Pending", "Running", "TimedOut"]
    assert states_of(eventflow_events, "f") == ["Pending", "Running", "Completed"]


@pytest.mark.parametrize("is_async", [False, True])
def test_an_outer_timeout_cancels_the_inner_run(
    is_async: bool, eventflow_events: list[Event]
) -> None:
    """A flow's timeout ends its task Cancelled, then itself TimedOut."""

    @task(name="t", timeout_seconds=600, retries=3)
    def t() -> None:
        run_for_ever()

    @flow(name="f", timeout_seconds=0.01)
    def f() -> None:
        t()

    @task(name="t", timeout_seconds=600, retries=3)
    async def at() -> None:
        await asyncio.Event().wait()

    @flow(name="f", timeout_seconds=0.01)
    async def af() -> None:
        await at()

    state = asyncio.run(af(return_state=True)) if is_async else f(return_state=True)
    assert state.name == "TimedOut"
    assert states_of(eventflow_events, "t") in (CANCELLED, [])
    assert states_of(eventflow_events, "f") == ["Pending", "Running", "TimedOut"]


def test_two_timeouts_at_once_do_not_lose_the_outer_one(eventflow_events: list[Event]) -> None:
    """Both cancel one asyncio task in one iteration of the loop: one exception is for both."""

    @task(name="t")
    async def t() -> None:
        inner.append(get_run_context().run.cancel_scope)
        await asyncio.Event().wait()

    @flow(name="f", timeout_seconds=600)
    async def f() -> None:
        cancel_scope = get_run_context().run.cancel_scope
        asyncio.get_running_loop().call_later(0.01, both, cancel_scope)
        await t(return_state=True)
        await asyncio.Event().wait()

    def both(outer: CancelScope) -> None:
        for cancel_scope in (inner[0], outer):
            cancel_scope.reason = Reason.TIMED_OUT
            cancel_scope.reinterrupt()

    inner: list[CancelScope] = []
    t = t.with_options()
    state = asyncio.run(f.with_options(timeout_seconds=600)(return_state=True))
    assert state.name == "TimedOut"
    assert states_of(eventflow_events, "t")[-1] == "Cancelled"


def test_each_attempt_has_its_own_time(eventflow_events: list[Event]) -> None:
    """A timer of an attempt that ended cannot stop the next one."""
    attempts: list[int] = []

    @flow(name="f", timeout_seconds=0.02, retries=1)
    def f() -> int:
        attempts.append(1)
        if len(attempts) == 1:
            run_for_ever()
        return len(attempts)

    assert f() == 2
    assert states_of(eventflow_events, "f") == [
        "Pending", "Running", "AwaitingRetry", "Retrying", "Completed",
    ]  # fmt: skip
