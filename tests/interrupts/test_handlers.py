"""The handlers of the program come back, whichever thread ends the last run."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable

import pytest

from eventflow import flow
from eventflow.interrupts.signals import guard

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
