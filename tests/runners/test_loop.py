"""Coroutines are run on a given loop, or on the background one."""

from __future__ import annotations

import asyncio
import threading
from contextvars import copy_context

from eventflow.interrupts.portals import background_portal
from eventflow.runners.loop import blocked_loop, may_run_on, spawn


def test_on_a_given_loop() -> None:
    """From the loop's own thread and from others, the coroutine runs on that loop."""
    seen: list[object] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        async def note_loop() -> None:
            seen.append(asyncio.get_running_loop())
            if len(seen) == 2:
                ended.set()

        assert spawn(note_loop, loop, copy_context()) is loop
        await asyncio.to_thread(spawn, note_loop, loop, copy_context())
        await ended.wait()
        assert seen == [loop, loop]

    asyncio.run(main())


def test_on_the_background_loop() -> None:
    """Without a loop, the coroutine runs on the background one."""
    done = threading.Event()

    async def work() -> None:
        done.set()

    assert spawn(work, None, copy_context()) is background_portal.loop
    assert done.wait(10)


def test_a_blocked_loop_is_given_nothing() -> None:
    """While a loop's thread waits, coroutines for it run on loops of their own, side by side."""
    seen: list[object] = []
    together = threading.Barrier(3, timeout=10)

    async def note_loop() -> None:
        seen.append(asyncio.get_running_loop())
        together.wait()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with blocked_loop(), blocked_loop():
            assert not may_run_on(loop)
            assert spawn(note_loop, loop, copy_context()) is None
            assert spawn(note_loop, loop, copy_context()) is None
            together.wait()
        assert may_run_on(loop)
        assert len({loop, *seen}) == 3

    asyncio.run(main())
    with blocked_loop():
        assert may_run_on(background_portal.loop)
