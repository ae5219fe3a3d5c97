"""What one thread lets in, and when. How runs are stopped with it is shown in test_control."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from eventflow.interrupts.masks import Bell, InterruptMask, ThreadPhase, thread_mask, wait


def test_each_thread_has_a_gate_of_its_own() -> None:
    """It is the same each time it is asked for, and another one elsewhere."""
    found: list[InterruptMask] = []
    thread = threading.Thread(target=lambda: found.append(thread_mask()))
    thread.start()
    thread.join()
    assert thread_mask() is thread_mask()
    assert found[0] is not thread_mask()
    assert found[0].ident == thread.ident


def test_what_is_deferred_is_raised_when_the_engine_is_left() -> None:
    """Not before, only once, and an exit outweighs an interrupt."""
    here = InterruptMask()
    here.enter_engine()
    here.defer(KeyboardInterrupt())
    here.defer(SystemExit(3))
    here.defer(KeyboardInterrupt())
    with pytest.raises(SystemExit):
        here.leave_engine(ThreadPhase.NOTHING)
    here.enter_engine()
    here.leave_engine(ThreadPhase.NOTHING)
    assert here.phase is ThreadPhase.NOTHING


def test_nobody_is_reminded_who_was_not_sent_a_signal() -> None:
    """A reminder is only for a signal whose handler has not run, in a body."""
    here = InterruptMask()
    assert not here.remind()
    here.signalled = True
    here.enter_engine()
    assert not here.remind()


def test_a_wait_ends_with_its_bell_or_its_time() -> None:
    """It says which; what was rung before is heard too, once."""
    bell = Bell()
    assert not wait(bell, 0.001)
    bell.set()
    bell.set()
    assert wait(bell)
    assert not wait(bell, 0)
    bell.set()
    bell.clear()
    assert not wait(bell, 0.001)
    assert thread_mask().sleeping is None


def test_a_wait_in_another_thread_ends_with_its_bell() -> None:
    """However long it may take: a timeout may be longer than Python can wait."""
    heard: list[bool] = []
    bell = Bell()
    thread = threading.Thread(target=lambda: heard.append(wait(bell, 1e300)))
    thread.start()
    bell.set()
    thread.join(30)
    assert heard == [True]


def test_a_loop_turns_while_runs_execute_there_and_no_longer() -> None:
    """What came just before the loop began to wait is seen; afterwards it is left alone."""
    here = InterruptMask()

    async def main() -> tuple[int, int]:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        turns: list[float] = []
        later = loop.call_later

        def counted(seconds: float, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
            turns.append(seconds)
            return later(0, *args, **kwargs)

        loop.call_later = counted  # type: ignore[method-assign,assignment]
        here.enter_task(task)
        for _ in range(50):
            await asyncio.sleep(0)
        during = len(turns)
        here.leave_task(task)
        for _ in range(50):
            await asyncio.sleep(0)
        return during, len(turns) - during

    during, after = asyncio.run(main())
    assert during > 1
    assert after == 0
