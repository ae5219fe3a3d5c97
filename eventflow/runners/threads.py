"""Submitted sync tasks in a bounded pool of threads."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from eventflow.atfork import in_children

__all__ = ["ThreadPoolTaskRunner", "default"]

_runners: Final[weakref.WeakSet[ThreadPoolTaskRunner]] = weakref.WeakSet()


class ThreadPoolTaskRunner:
    """Executes submitted sync tasks in at most `max_workers` threads, in order of submission.

    The threads are started when they are needed and are shared by all flows that use the
    runner. By default there are four more than processors, and at most 32.

    Raises:
        ValueError: `max_workers` is less than 1.
    """

    def __init__(self, max_workers: int | None = None) -> None:
        if max_workers is not None and max_workers < 1:
            raise ValueError(f"max_workers must be 1 or more, but is {max_workers}.")
        self.max_workers = max_workers or min(32, (os.cpu_count() or 1) + 4)
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._workers = threading.local()
        _runners.add(self)

    def submit(self, work: Callable[[], object]) -> None:
        """Have the work done by the next free thread."""
        pool = self._pool
        try:
            (pool if pool is not None else self._start()).submit(work)
        except RuntimeError:  # the interpreter is shutting down: no thread may start any more
            work()

    def _start(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(
                    self.max_workers, "eventflow-worker", initializer=self._enrol
                )

            return self._pool

    def _enrol(self) -> None:
        self._workers.enrolled = True

    def is_worker(self) -> bool:
        """Whether the calling thread is one of this runner's own."""
        return getattr(self._workers, "enrolled", False)

    def forget(self) -> None:
        """Drop a pool whose threads did not survive a fork."""
        self._lock = threading.Lock()
        self._pool = None

    def __repr__(self) -> str:
        return f"ThreadPoolTaskRunner(max_workers={self.max_workers})"


default: Final = ThreadPoolTaskRunner()
"""The runner of flows that name none."""


def _after_fork() -> None:
    for runner in _runners:
        runner.forget()


in_children(_after_fork)
