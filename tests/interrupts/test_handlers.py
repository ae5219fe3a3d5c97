"""The handlers of the program come back, whichever thread ends the last run."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from eventflow import flow
from eventflow.interrupts.signals import guard
from tests.interrupts.program import ASYNC, SYNC, Program

pytestmark = pytest.mark.usefixtures("eventflow_isolated")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGURG)


def handlers() -> list[object]:
    return [signal.getsignal(signum) for signum in SIGNALS]


def in_thread(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def wait_for(before: list[object]) -> None:
    """Wait for the handlers, for a minute at most."""
    until = time.monotonic() + 60
    while handlers() != before:
        assert time.monotonic() < until
        time.sleep(0.001)


def test_runs_that_overlap_and_end_in_other_threads() -> None:
    """The handlers stay until the last one has ended, and then come back."""
    before = handlers()
    ends = [guard(), guard()]
    ours = handlers()
    assert ours != before
    for end in ends:
        assert end is not None
        assert handlers() == ours
        in_thread(end)
    wait_for(before)
    end = guard()
    assert end is not None
    assert handlers() == ours
    end()
    assert handlers() == before


def test_a_run_that_is_closed_in_another_thread() -> None:
    """As a garbage collection may do it."""
    before = handlers()

    @flow
    async def f() -> None:
        await asyncio.Event().wait()

    loop = asyncio.new_event_loop()
    coroutine = f()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "call_exception_handler", lambda context: None)
        task = loop.create_task(coroutine)
        while handlers() == before:
            loop.run_until_complete(asyncio.sleep(0))
        in_thread(coroutine.close)
        wait_for(before)
        task.cancel()
        loop.run_until_complete(asyncio.wait([task]))
        assert task.cancelled() or task.exception() is not None
    loop.close()


WITH_A_HANDLER: Final = """
def exits(signum, frame):
    say("handler")
    sys.exit(7)

signal.signal(signal.SIGTERM, exits)
"""


@pytest.mark.parametrize("source", [SYNC.format(wait="time.sleep(60)"), ASYNC])
def test_a_handler_of_the_program_that_exits_crashes_the_run(source: str, tmp_path: Path) -> None:
    """Its exit ends the process, as it would without a run, once the hooks have run."""
    program = Program(WITH_A_HANDLER + source, tmp_path)
    program.until("ready")
    program.wait_until_blocked()
    status, _ = program.end(signal.SIGTERM)

    assert status == 7
    assert program.lines[-3:] == ["handler", "f Crashed", "hook f Crashed"]
