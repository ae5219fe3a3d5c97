"""The engine's activation: who is in it has the run in force, and leaves everything as it was."""

from __future__ import annotations

import asyncio
import signal

import pytest

from eventflow import task
from eventflow.context import current_run
from eventflow.engine.drivers import Activation, AsyncActivation
from eventflow.engine.invocation import Invocation
from eventflow.interrupts.scopes import ThreadPhase, live, thread_mask
from eventflow.states import Completed, Pending
from eventflow.testing import Isolated


def a_job() -> Invocation:
    return Invocation(task(lambda: None), (), {})


def test_a_thread_in_the_room_executes_the_run(eventflow_isolated: Isolated) -> None:
    """Its run is in force, no interrupt gets in, and Ctrl-C is the engine's."""
    invocation, handler = a_job(), signal.getsignal(signal.SIGINT)
    with Activation(invocation):
        context = current_run.get()
        assert context is not None
        assert context.run is invocation.run
        assert thread_mask().phase is ThreadPhase.ENGINE
        assert live[invocation.run.number] is invocation.run.cancel_scope
        assert signal.getsignal(signal.SIGINT) is not handler
    assert current_run.get() is None
    assert thread_mask().phase is ThreadPhase.NOTHING
    assert signal.getsignal(signal.SIGINT) is handler
    live.pop(invocation.run.number)


def test_a_run_that_is_left_in_the_midst_can_still_be_stopped(eventflow_isolated: Isolated) -> None:
    """It stays among the live ones until it has ended."""
    invocation = a_job()
    with Activation(invocation):
        invocation.run.enter(Pending())
    assert invocation.run.number in live
    with Activation(invocation):
        invocation.run.enter(Completed())
    assert invocation.run.number not in live


def test_the_room_is_left_in_order_whatever_is_raised(eventflow_isolated: Isolated) -> None:
    """What is raised inside comes out; nothing of the run stays in force."""
    invocation = a_job()
    with pytest.raises(KeyError), Activation(invocation):
        raise KeyError
    assert current_run.get() is None
    assert thread_mask().phase is ThreadPhase.NOTHING
    live.pop(invocation.run.number)


def test_a_task_in_the_room_executes_the_run(eventflow_isolated: Isolated) -> None:
    """Its run is in force in that task only; the loop's thread is open for interrupts of it."""

    async def main() -> None:
        invocation = a_job()
        with AsyncActivation(invocation):
            context = current_run.get()
            assert context is not None
            assert context.run is invocation.run
            assert thread_mask().phase is ThreadPhase.LOOP
            assert invocation.run.cancel_scope.loop is asyncio.get_running_loop()
            invocation.run.enter(Pending())
            invocation.run.enter(Completed())
        assert current_run.get() is None
        assert invocation.run.number not in live
        assert invocation.run.cancel_scope.loop is None

    asyncio.run(main())
    assert thread_mask().phase is ThreadPhase.NOTHING
