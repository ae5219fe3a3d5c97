"""Task scopes: the task runs that a flow run has submitted, and waits for before it ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from eventflow.errors import MissingContextError
from eventflow.runs.futures import Future

__all__ = ["TaskRunner", "TaskScope"]


@runtime_checkable
class TaskRunner(Protocol):
    """Executes sync work in other threads than the calling one."""

    def submit(self, work: Callable[[], object]) -> None:
        """Execute the work soon. The work never raises."""
        ...

    def is_worker(self) -> bool:
        """Return whether the calling thread is one of this runner's own."""
        ...


class TaskScope:
    """The task runs that one flow run has submitted and that have not ended.

    `loop` is the event loop of an async flow; its async tasks run there. `used` tells whether a
    task run was ever submitted.
    """

    __slots__ = ("_lock", "_open", "closed", "loop", "runner", "used")

    def __init__(self, runner: TaskRunner, loop: asyncio.AbstractEventLoop | None) -> None:
        self.runner = runner
        self.loop = loop
        self.closed = False
        self.used = False
        # In order of submission, which a set would not keep.
        self._open: dict[Future[Any], None] = {}
        self._lock = threading.Lock()

    def add(self, future: Future[Any]) -> None:
        """Add a task run that is being submitted.

        Raises:
            MissingContextError: the flow run is ending or has ended.
        """
        with self._lock:
            if self.closed:
                raise MissingContextError(
                    f"{future.run.task_name}.submit()",
                    "The flow run around it is ending; submit tasks before its body returns.",
                )
            self._open[future] = None
            self.used = True
        future.add_done_callback(self._discard)

    def _discard(self, future: Future[Any]) -> None:
        self._open.pop(future, None)

    @property
    def empty(self) -> bool:
        """Whether every submitted task run has ended."""
        return not self._open

    def close(self) -> bool:
        """Accept no more task runs; return whether all that were added have ended."""
        with self._lock:
            self.closed = True

            return not self._open

    def reopen(self) -> None:
        """Accept task runs again, for another attempt."""
        self.closed = False

    def cancel(self) -> None:
        """Request the cancellation of every task run that has not ended.

        The newest is cancelled first: a worker that becomes free then begins none of them.
        """
        for future in reversed(tuple(self._open)):
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
