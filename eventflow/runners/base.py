"""Where submitted tasks execute, and the scope that a flow run does not outlive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from eventflow.futures import Future

__all__ = ["Scope", "TaskRunner"]


@runtime_checkable
class TaskRunner(Protocol):
    """Executes sync work somewhere else than in the calling thread."""

    def submit(self, work: Callable[[], object]) -> None:
        """Have the work done soon; it never raises."""
        ...

    def is_worker(self) -> bool:
        """Whether the calling thread is one of this runner's own."""
        ...


class Scope:
    """The task runs that one flow run has submitted and that have not ended.

    `loop` is the event loop of an async flow; its async tasks run there.
    """

    __slots__ = ("_open", "closed", "loop", "runner")

    def __init__(self, runner: TaskRunner, loop: asyncio.AbstractEventLoop | None) -> None:
        self.runner = runner
        self.loop = loop
        self.closed = False
        self._open: set[Future[Any]] = set()

    def add(self, future: Future[Any]) -> None:
        """Take in a task run that was just submitted."""
        self._open.add(future)
        future.add_done_callback(self._open.discard)

    @property
    def empty(self) -> bool:
        """Whether every submitted task run has ended."""
        return not self._open

    def cancel(self) -> None:
        """Ask for the cancellation of every task run that has not ended."""
        for future in tuple(self._open):
            future.cancel()

    def join(self) -> None:
        """Block until every submitted task run has ended."""
        while self._open:
            for future in tuple(self._open):
                future.wait()

    async def ajoin(self) -> None:
        """Wait, in async code, until every submitted task run has ended."""
        while self._open:
            for future in tuple(self._open):
                await future.ended()
