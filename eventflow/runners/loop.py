"""Submitted async tasks on an event loop: the flow's own, else the background one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final

from eventflow.interrupts.portals import background, running_loop

__all__ = ["spawn"]

_tasks: Final[set[asyncio.Task[Any]]] = set()


def spawn(
    make: Callable[[], Coroutine[Any, Any, object]],
    loop: asyncio.AbstractEventLoop | None,
    context: Context,
) -> asyncio.AbstractEventLoop:
    """Have the loop run a coroutine as a task of its own; gives the loop."""
    loop = loop or background.loop

    def begin() -> None:
        task = loop.create_task(make(), context=context)
        # The loop itself holds its tasks weakly.
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)

    if running_loop() is loop:
        begin()
    else:
        loop.call_soon_threadsafe(begin)

    return loop
