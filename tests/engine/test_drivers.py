"""Activations: the run is the current one inside, and everything is restored afterwards."""

from __future__ import annotations

import asyncio
import signal

import pytest

from eventflow import task
from eventflow.context import current_run
from eventflow.engine.drivers import Activation, AsyncActivation
from eventflow.engine.invocation import Invocation
from eventflow.interrupts.masks import ThreadPhase, this_thread
from eventflow.interrupts.scopes import active_runs
from eventflow.states import Completed, Pending
from eventflow.testing import Isolated


def an_invocation() -> Invocation:
    return Invocation(task(lambda: None), (), {})


def phase() -> ThreadPhase:
    return this_thread.mask.phase


def test_an_activation_of_a_thread(eventflow_isolated: Isolated) -> None:
    """The run is the current one, interrupts are masked, and eventflow handles Ctrl-C."""
    invocation, handler = an_invocation(), signal.getsignal(signal.SIGINT)
    with Activation(invocation):
        context = current_run.get()
        assert context is not None
        assert context.run is invocation.run
        assert phase() is ThreadPhase.ENGINE
        assert active_runs[invocation.run.number] is invocation.run
        assert signal.getsignal(signal.SIGINT) is not handler
    assert current_run.get() is None
    assert phase() is ThreadPhase.NOTHING
    assert signal.getsignal(signal.SIGINT) is handler
    active_runs.pop(invocation.run.number)


def test_an_unfinished_run_can_still_be_stopped(eventflow_isolated: Isolated) -> None:
    """It stays among the live runs until it has ended."""
    invocation = an_invocation()
    with Activation(invocation):
        invocation.run.enter(Pending())
    assert invocation.run.number in active_runs
    with Activation(invocation):
        invocation.run.enter(Completed())
    assert invocation.run.number not in active_runs


def test_an_activation_in_which_something_is_raised(eventflow_isolated: Isolated) -> None:
    """The error propagates, and the run is no longer the current one."""
    invocation = an_invocation()
    with pytest.raises(KeyError), Activation(invocation):
        raise KeyError
    assert current_run.get() is None
    assert phase() is ThreadPhase.NOTHING
    active_runs.pop(invocation.run.number)


def test_an_activation_of_a_task(eventflow_isolated: Isolated) -> None:
    """The run is the current one in that task only; its thread may be interrupted for it."""

    async def main() -> None:
        invocation = an_invocation()
        with AsyncActivation(invocation):
            context = current_run.get()
            assert context is not None
            assert context.run is invocation.run
            assert phase() is ThreadPhase.LOOP
            assert invocation.run.cancel_scope.loop is asyncio.get_running_loop()
            invocation.run.enter(Pending())
            invocation.run.enter(Completed())
        assert current_run.get() is None
        assert invocation.run.number not in active_runs
        assert invocation.run.cancel_scope.loop is None

    asyncio.run(main())
    assert phase() is ThreadPhase.NOTHING
