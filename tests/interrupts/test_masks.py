"""Interrupt masks: what may be raised in a thread, and when."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from eventflow.interrupts.masks import InterruptMask, ThreadPhase, this_thread


def test_each_thread_has_a_mask_of_its_own() -> None:
    """A thread always gets the same mask, and another thread gets another one."""
    masks: list[InterruptMask] = []
    thread = threading.Thread(target=lambda: masks.append(this_thread.mask))
    thread.start()
    thread.join()
    assert this_thread.mask is this_thread.mask
    assert masks[0] is not this_thread.mask
    assert masks[0].ident == thread.ident


def test_what_is_deferred_is_raised_when_the_engine_is_left() -> None:
    """Not before, only once, and an exit takes precedence over an interrupt."""
    mask = InterruptMask()
    mask.enter_engine()
    mask.defer(KeyboardInterrupt())
    mask.defer(SystemExit(3))
    mask.defer(KeyboardInterrupt())
    with pytest.raises(SystemExit):
        mask.unmask(ThreadPhase.NOTHING)
    mask.enter_engine()
    mask.unmask(ThreadPhase.NOTHING)
    assert mask.phase is ThreadPhase.NOTHING


def test_a_loop_is_polled_while_runs_execute_there() -> None:
    """A signal that arrives just before the loop waits is handled; without runs it may sleep."""
    mask = InterruptMask()

    async def main() -> tuple[int, int]:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        polls: list[float] = []
        call_later = loop.call_later

        def counted(seconds: float, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
            polls.append(seconds)
            return call_later(0, *args, **kwargs)

        loop.call_later = counted  # type: ignore[method-assign,assignment]
        mask.enter_task(task)
        for _ in range(50):
            await asyncio.sleep(0)
        during = len(polls)
        mask.leave_task(task)
        for _ in range(50):
            await asyncio.sleep(0)
        return during, len(polls) - during

    during, after = asyncio.run(main())
    assert during > 1
    assert after == 0
