"""Run submitted async tasks on an event loop: the flow's own, else the background one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final

from eventflow.interrupts.portals import background_portal, running_loop

__all__ = ["spawn"]

_tasks: Final[set[asyncio.Task[Any]]] = set()


def spawn(
    make: Callable[[], Coroutine[Any, Any, object]],
    loop: asyncio.AbstractEventLoop | None,
    context: Context,
) -> asyncio.AbstractEventLoop:
    """Run a coroutine on the loop as a task of its own; return the loop."""
    loop = loop or background_portal.loop

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
