"""Submitted sync tasks in a bounded pool of threads."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Final

from eventflow.primitives.forks import in_children
from eventflow.primitives.loggers import get_logger

__all__ = ["ThreadPoolTaskRunner", "default", "extra_worker"]

_logger: Final = get_logger("runners")
_here: Final = threading.local()
"""Knows the runner of which the thread is a worker."""

_runners: Final[weakref.WeakSet[ThreadPoolTaskRunner]] = weakref.WeakSet()


class ThreadPoolTaskRunner:
    """Executes submitted sync tasks in at most `max_workers` threads, in order of submission.

    The threads are started when they are needed and are shared by all flows that use the
    runner. By default there are four more than processors, and at most 32. While a worker waits
    for another run, with a timeout or for a cached result, one thread more may work.

    Raises:
        ValueError: `max_workers` is less than 1.
    """

    _pool: ThreadPoolExecutor | None
    _waiting: SimpleQueue[Callable[[], object]]

    def __init__(self, max_workers: int | None = None) -> None:
        if max_workers is not None and max_workers < 1:
            raise ValueError(f"max_workers must be 1 or more, but is {max_workers}.")
        self.max_workers = max_workers or min(32, (os.cpu_count() or 1) + 4)
        self._workers = threading.local()
        self.reset()
        _runners.add(self)

    def submit(self, work: Callable[[], object]) -> None:
        """Queue the work for the next free thread."""
        self._waiting.put(work)
        with self._lock:
            if self._busy >= self.max_workers:
                return
            self._busy += 1
        try:
            self._begin_work()
        except RuntimeError:  # the interpreter is shutting down: no thread may start any more
            self._work_on()

    def _begin_work(self) -> None:
        if self._extra_workers:
            # The threads of the pool may all be waiting.
            threading.Thread(target=self._work_in_place, name="eventflow-worker-in-place").start()
        else:
            (self._pool or self._start()).submit(self._work_on)

    def _work_in_place(self) -> None:
        self._mark_worker()
        self._work_on()

    @contextlib.contextmanager
    def extra_worker(self) -> Iterator[None]:
        """Have one thread more work while the calling worker waits in the block."""
        with self._lock:
            self._extra_workers += 1
            is_needed = not self._waiting.empty()
            self._busy -= not is_needed
        try:
            if is_needed:
                with contextlib.suppress(RuntimeError):  # the interpreter is shutting down
                    self._begin_work()
            yield
        finally:
            with self._lock:
                self._extra_workers -= 1
                self._busy += 1

    def _work_on(self) -> None:
        """Execute what is queued until the queue is empty."""
        while (work := self._next()) is not None:
            try:
                work()
            except BaseException:  # the thread must go on: there is more work, and this is logged
                _logger.exception("Submitted work failed")

    def _next(self) -> Callable[[], object] | None:
        """Return the oldest work; None if there is none, and this thread is not busy any more."""
        if self._busy > self.max_workers and self._retires():
            return None
        with contextlib.suppress(Empty):
            return self._waiting.get_nowait()
        with self._lock:
            # Work may have been queued since, by a thread that found this one still busy.
            with contextlib.suppress(Empty):
                return self._waiting.get_nowait()
            self._busy -= 1

        return None

    def _retires(self) -> bool:
        """Return whether this thread ends, as a worker that had extra_worker its place is back."""
        with self._lock:
            retires = self._busy > self.max_workers
            self._busy -= retires

            return retires

    def _start(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(
                    self.max_workers, "eventflow-worker", initializer=self._mark_worker
                )

            return self._pool

    def _mark_worker(self) -> None:
        self._workers.is_worker = True
        _here.runner = self

    def is_worker(self) -> bool:
        """Return whether the calling thread is one of this runner's own."""
        return getattr(self._workers, "is_worker", False)

    def reset(self) -> None:
        """Begin without threads and work: in a forked child, those are the parent's."""
        self._lock = threading.Lock()
        self._pool = None
        self._waiting = SimpleQueue()
        self._busy = 0
        self._extra_workers = 0

    def __repr__(self) -> str:
        return f"ThreadPoolTaskRunner(max_workers={self.max_workers})"


default: Final = ThreadPoolTaskRunner()
"""The runner of flows that name none."""


def extra_worker() -> contextlib.AbstractContextManager[None]:
    """Return the block in which one thread more works, if the calling thread is a worker."""
    runner: ThreadPoolTaskRunner | None = getattr(_here, "runner", None)

    return contextlib.nullcontext() if runner is None else runner.extra_worker()


def _after_fork() -> None:
    for runner in _runners:
        runner.reset()


in_children(_after_fork)
