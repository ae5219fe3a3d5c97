"""The end of an event loop: it waits for a while, until async listeners have heard everything."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final
from weakref import WeakSet

__all__ = ["SHUTDOWN_SECONDS", "ListenerTask", "has_ended", "wait_at_end"]

SHUTDOWN_SECONDS: Final = 5.0
"""How long an ending event loop, or process, waits for async listeners to finish."""


class _LastingTask(asyncio.Task[None]):
    """A task that the end of its loop does not cancel.

    `asyncio.run` and its like cancel the remaining tasks when the loop has stopped running, and
    then run it once more until all of them have ended.
    """

    is_ending = False

    def __init__(self, coroutine: Coroutine[Any, Any, None], **options: Any) -> None:
        super().__init__(coroutine, **options)
        # If its loop is closed over it, that is said by the receiver, where it matters.
        self._log_destroy_pending = False

    def cancel(self, msg: object = None) -> bool:
        """Cancel the task; where the loop has stopped for good, have it end by itself."""
        if self.get_loop().is_running() or self.is_ending or self.done():
            return super().cancel(msg)
        self.end()

        return True

    def end(self) -> None:
        """Have the task end by itself soon."""
        self.is_ending = True


class ListenerTask(_LastingTask):
    """The task of an async listener: it ends when it has heard everything, or is given up."""

    is_given_up = False

    def end(self) -> None:
        """Give the task up after the shutdown time."""
        if not self.is_ending:
            self.get_loop().call_later(SHUTDOWN_SECONDS, self._give_up)
        super().end()

    def _give_up(self) -> None:
        self.is_given_up = super().cancel()


class _ShutdownTask(_LastingTask):
    """The task that keeps an ending loop alive until the others have published what they do."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._begun = asyncio.Event()
        super().__init__(self._wait(), loop=loop)

    def end(self) -> None:
        """Begin to wait for the other tasks of the loop."""
        super().end()
        self._begun.set()

    async def _wait(self) -> None:
        await self._begun.wait()
        loop = self.get_loop()
        others = [task for task in asyncio.all_tasks() if not isinstance(task, _LastingTask)]
        if others:
            await asyncio.wait(others)
        deadline = loop.time() + SHUTDOWN_SECONDS
        while (tasks := _listener_tasks()) and loop.time() < deadline:
            for task in tasks:
                task.end()
            await asyncio.wait(tasks)
        _ended.add(loop)


def _listener_tasks() -> list[ListenerTask]:
    return [task for task in asyncio.all_tasks() if isinstance(task, ListenerTask)]


_shutdown_tasks: Final[dict[asyncio.AbstractEventLoop, _ShutdownTask]] = {}
_ended: Final[WeakSet[asyncio.AbstractEventLoop]] = WeakSet()


def wait_at_end(loop: asyncio.AbstractEventLoop) -> None:
    """Have the end of the running loop wait for listeners."""
    waiting = _shutdown_tasks.get(loop)
    if waiting is not None and not waiting.done():
        return
    for closed in [other for other in list(_shutdown_tasks) if other.is_closed()]:
        _shutdown_tasks.pop(closed, None)
    _shutdown_tasks[loop] = _ShutdownTask(loop)


def has_ended(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether nothing that begins on a loop now would be waited for."""
    return loop.is_closed() or loop in _ended
