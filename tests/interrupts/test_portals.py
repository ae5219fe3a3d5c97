"""The background loop: what runs there, what comes back, and what cannot end it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from contextvars import ContextVar

import pytest

from eventflow.interrupts.portals import Portal, background, in_thread, running_loop, unpacked

here: ContextVar[str] = ContextVar("here", default="nowhere")


async def name_of_thread() -> str:
    return threading.current_thread().name


async def place() -> str:
    return here.get()


def test_a_coroutine_runs_on_the_loop() -> None:
    """One thread for all, in the context of who asks."""
    portal = Portal("one")
    here.set("test")

    assert not portal.is_here
    assert portal.run(name_of_thread()) == portal.run(name_of_thread()) == "one"
    assert portal.run(place()) == "test"
    assert running_loop() is None


def test_many_who_ask_first_get_one_loop() -> None:
    """The loop is started once, however many threads find that there is none."""
    portal = Portal("first")
    barrier = threading.Barrier(8)
    loops: list[object] = []

    def ask() -> None:
        barrier.wait()
        loops.append(portal.loop)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(map(id, loops))) == 1


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
def test_what_is_raised_comes_back_and_the_loop_lives_on(kind: type[BaseException]) -> None:
    """Not even an exit ends the loop that everybody shares."""

    async def fail() -> None:
        raise kind("no")

    with pytest.raises(kind):
        background.run(fail())
    assert background.run(place())


def test_the_loops_own_thread_gets_another_loop() -> None:
    """It cannot wait for itself; results, errors and the context are as ever."""

    async def outer() -> tuple[str, str]:
        here.set("inner")
        assert background.is_here
        return background.run(name_of_thread()), background.run(place())

    async def failing() -> None:
        async def fail() -> None:
            raise ValueError("no")

        background.run(fail())

    assert background.run(outer()) == ("eventflow-call", "inner")
    with pytest.raises(ValueError, match="no"):
        background.run(failing())


def test_an_interrupted_wait_cancels_the_coroutine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while waiting leaves nothing running."""
    from concurrent.futures import Future

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
        background.run(hang())

    assert ended.wait(10)


def test_a_thread_of_ones_own_gives_an_outcome() -> None:
    """Results and errors alike."""
    assert unpacked(in_thread(lambda: 3).result()) == 3
    with pytest.raises(StopIteration):
        unpacked(in_thread(lambda: next(iter([]))).result())


def test_a_timer_fires_or_is_called_off() -> None:
    """What is called off in time does not happen."""
    portal = Portal("timers")
    fired = threading.Event()
    never: list[int] = []
    portal.call_later(3600, lambda: never.append(1))()
    call_off = portal.call_later(0, fired.set)

    assert fired.wait(10)
    call_off()

    async def block_then_time() -> None:
        # Called off before the loop has come to set it.
        portal.call_later(0, lambda: never.append(2))()

    portal.run(block_then_time())
    portal.run(asyncio.sleep(0))
    assert not never


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_starts_a_loop_of_its_own() -> None:
    """The thread of the loop does not survive a fork; the next who asks starts another."""
    program = """
import os, sys
from eventflow.interrupts.portals import background
async def three(): return 3
assert background.run(three()) == 3
child = os.fork()
if child == 0:
    os._exit(background.run(three()))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)

    assert done.returncode == 3
