"""Run submitted async tasks on an event loop: the flow's own, else the background one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any, Final

from eventflow.interrupts.portals import background_portal, in_thread, running_loop

__all__ = ["blocked_loop", "may_run_on", "spawn"]

_tasks: Final[set[asyncio.Task[Any]]] = set()

_blocked: Final[set[asyncio.AbstractEventLoop]] = set()
"""The event loops whose threads wait for submitted tasks."""


@contextmanager
def blocked_loop() -> Iterator[None]:
    """Give no tasks to the event loop of this thread, which waits in the block; if there is one."""
    loop = running_loop()
    if loop is None or loop in _blocked:
        yield
        return
    _blocked.add(loop)
    try:
        yield
    finally:
        _blocked.discard(loop)


def may_run_on(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether tasks are given to the event loop, which is not blocked."""
    return loop not in _blocked


def spawn(
    make: Callable[[], Coroutine[Any, Any, object]],
    loop: asyncio.AbstractEventLoop | None,
    context: Context,
) -> asyncio.AbstractEventLoop | None:
    """Run a coroutine on the loop as a task of its own; return the loop.

    If the loop is blocked, the coroutine runs on a new one in a thread of its own; return None.
    """
    loop = loop or background_portal.loop
    if not may_run_on(loop):
        context.run(in_thread, lambda: asyncio.run(make()))
        return None

    def begin() -> None:
        task = loop.create_task(make(), context=context)
        # The loop itself references its tasks weakly.
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)

    if running_loop() is loop:
        begin()
    else:
        loop.call_soon_threadsafe(begin)

    return loop
