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

from eventflow.interrupts.portals import (
    OrderedCalls,
    Portal,
    background_portal,
    in_thread,
    running_loop,
    unwrap,
)

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


# -- ordered calls ------------------------------------------------------------------------------


def test_calls_of_one_key_come_one_after_the_other() -> None:
    """Those of other keys go on meanwhile; what one raises is logged, and stops none."""
    calls, held, done = OrderedCalls("ordered", 2), threading.Event(), threading.Event()
    seen: list[str] = []

    def wait() -> None:
        assert held.wait(30)
        seen.append("first")

    def fail() -> None:
        seen.append("fails")
        raise SystemExit(3)

    def end() -> None:
        seen.append("last")
        done.set()

    calls.put(1, wait)
    calls.put(1, fail)
    calls.put(1, end)
    calls.put(2, held.set)
    assert done.wait(30)
    calls.finish()

    assert seen == ["first", "fails", "last"]


def test_no_more_threads_than_allowed_and_none_without_work() -> None:
    """However many keys there are; and they start again when there is work."""
    calls, lock, most = OrderedCalls("few", 3), threading.Lock(), 0
    present = 0
    barrier = threading.Barrier(3)

    def work() -> None:
        nonlocal most, present
        with lock:
            present += 1
            most = max(most, present)
        barrier.wait(30)
        with lock:
            present -= 1

    for _ in range(2):
        for key in range(9):
            calls.put(key, work)
        calls.finish()
        assert present == 0
    assert most == 3


def test_the_end_of_a_process_waits_for_calls_a_few_seconds() -> None:
    """A call that hangs does not keep the process; one that is short is made."""
    code = """
import threading, time
from eventflow.interrupts import portals
portals.SHUTDOWN_SECONDS = 0.2
calls = portals.OrderedCalls("calls", 2)
calls.put(1, threading.Event().wait)
calls.put(2, lambda: (time.sleep(0.01), print("made", flush=True)))
"""
    assert _output(code) == "made\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs forks")
def test_a_forked_child_starts_afresh() -> None:
    """What waits is called in the parent, and only there."""
    code = """
import os, sys, threading
from eventflow.interrupts.portals import OrderedCalls
calls, go = OrderedCalls("calls", 1), threading.Event()
calls.put(1, go.wait)
calls.put(2, lambda: print("parent", flush=True))
child = os.fork()
if child == 0:
    calls.put(3, lambda: print("child", flush=True))
    calls.finish()
    os._exit(0)
os.waitpid(child, 0)
go.set()
calls.finish()
"""
    assert _output(code) == "child\nparent\n"


def _output(code: str) -> str:
    """Return what a program prints that ends well; forks with threads are warned about."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stderr == ""

    return ended.stdout
