"""The engine's room: who is in it has the run in force, and leaves everything as it was."""

from __future__ import annotations

import asyncio
import signal

import pytest

from eventflow import task
from eventflow.context import current_run
from eventflow.engine.invocation import Job
from eventflow.engine.rooms import AsyncRoom, Room
from eventflow.interrupts.scopes import Inside, gate, live
from eventflow.states import Completed, Pending
from eventflow.testing import Isolated


def a_job() -> Job:
    return Job(task(lambda: None), (), {})


def test_a_thread_in_the_room_executes_the_run(eventflow_isolated: Isolated) -> None:
    """Its run is in force, no interrupt gets in, and Ctrl-C is the engine's."""
    job, handler = a_job(), signal.getsignal(signal.SIGINT)
    with Room(job):
        context = current_run.get()
        assert context is not None
        assert context.run is job.run
        assert gate().inside is Inside.ENGINE
        assert live[job.run.number] is job.run.control
        assert signal.getsignal(signal.SIGINT) is not handler
    assert current_run.get() is None
    assert gate().inside is Inside.NOTHING
    assert signal.getsignal(signal.SIGINT) is handler
    live.pop(job.run.number)


def test_a_run_that_is_left_in_the_midst_can_still_be_stopped(eventflow_isolated: Isolated) -> None:
    """It stays among the live ones until it has ended."""
    job = a_job()
    with Room(job):
        job.run.enter(Pending())
    assert job.run.number in live
    with Room(job):
        job.run.enter(Completed())
    assert job.run.number not in live


def test_the_room_is_left_in_order_whatever_is_raised(eventflow_isolated: Isolated) -> None:
    """What is raised inside comes out; nothing of the run stays in force."""
    job = a_job()
    with pytest.raises(KeyError), Room(job):
        raise KeyError
    assert current_run.get() is None
    assert gate().inside is Inside.NOTHING
    live.pop(job.run.number)


def test_a_task_in_the_room_executes_the_run(eventflow_isolated: Isolated) -> None:
    """Its run is in force in that task only; the loop's thread is open for interrupts of it."""

    async def main() -> None:
        job = a_job()
        with AsyncRoom(job):
            context = current_run.get()
            assert context is not None
            assert context.run is job.run
            assert gate().inside is Inside.LOOP
            assert job.run.control.loop is asyncio.get_running_loop()
            job.run.enter(Pending())
            job.run.enter(Completed())
        assert current_run.get() is None
        assert job.run.number not in live
        assert job.run.control.loop is None

    asyncio.run(main())
    assert gate().inside is Inside.NOTHING
