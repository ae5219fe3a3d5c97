"""Portals: coroutines and timers on a loop in another thread, and what ends neither."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from concurrent.futures import Future
from contextvars import ContextVar

import pytest

from eventflow.interrupts.portals import Portal, background_portal, in_thread, running_loop, unwrap

variable: ContextVar[str] = ContextVar("variable", default="default")


async def name_of_thread() -> str:
    return threading.current_thread().name


async def value_in_context() -> str:
    return variable.get()


def test_a_coroutine_runs_on_the_loop() -> None:
    """All run in one thread, each in the context of its caller."""
    portal = Portal("one")
    variable.set("test")

    assert not portal.is_here
    assert portal.run(name_of_thread()) == portal.run(name_of_thread()) == "one"
    assert portal.run(value_in_context()) == "test"
    assert running_loop() is None


def test_threads_that_start_a_portal_at_once_share_a_loop() -> None:
    """The loop is started once, however many threads need it first."""
    portal = Portal("first")
    barrier = threading.Barrier(8)
    loops: list[object] = []

    def start() -> None:
        barrier.wait()
        loops.append(portal.loop)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(map(id, loops))) == 1


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
def test_what_is_raised_reaches_the_caller_and_the_loop_goes_on(kind: type[BaseException]) -> None:
    """Not even an exit ends the shared loop."""

    async def fail() -> None:
        raise kind("no")

    with pytest.raises(kind):
        background_portal.run(fail())
    assert background_portal.run(value_in_context())


def test_the_loops_own_thread_gets_another_loop() -> None:
    """It cannot wait for itself; results, errors and the context are the same."""

    async def outer() -> tuple[str, str]:
        variable.set("inner")
        assert background_portal.is_here
        return background_portal.run(name_of_thread()), background_portal.run(value_in_context())

    async def failing() -> None:
        async def fail() -> None:
            raise ValueError("no")

        background_portal.run(fail())

    assert background_portal.run(outer()) == ("eventflow-call", "inner")
    with pytest.raises(ValueError, match="no"):
        background_portal.run(failing())


def test_an_interrupted_wait_cancels_the_coroutine(monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C in a wait nothing goes on."""
    began, ended = threading.Event(), threading.Event()

    async def hang() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    def result(_self: object, timeout: float | None = None) -> None:
        assert began.wait(10)
        raise KeyboardInterrupt

    monkeypatch.setattr(Future, "result", result)
    with pytest.raises(KeyboardInterrupt):
        background_portal.run(hang())

    assert ended.wait(10)


def test_a_call_in_a_thread_gives_an_outcome() -> None:
    """The outcome holds a result or an error."""
    assert unwrap(in_thread(lambda: 3).result()) == 3
    with pytest.raises(StopIteration):
        unwrap(in_thread(lambda: next(iter([]))).result())


def test_a_timer_fires_or_is_cancelled() -> None:
    """A timer that is cancelled in time does not fire."""
    portal = Portal("timers")
    fired = threading.Event()
    never: list[int] = []
    portal.call_later(3600, lambda: never.append(1))()
    cancel = portal.call_later(0, fired.set)

    assert fired.wait(10)
    cancel()

    async def cancel_at_once() -> None:
        # Cancelled before the loop has set it.
        portal.call_later(0, lambda: never.append(2))()

    portal.run(cancel_at_once())
    portal.run(asyncio.sleep(0))
    assert not never


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_starts_a_loop_of_its_own() -> None:
    """The thread of the loop does not survive a fork; the next call starts another one."""
    program = """
import os, sys
from eventflow.interrupts.portals import background_portal
async def three(): return 3
assert background_portal.run(three()) == 3
child = os.fork()
if child == 0:
    os._exit(background_portal.run(three()))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)

    assert done.returncode == 3
