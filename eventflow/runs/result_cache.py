"""The in-memory cache of task results."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Lock
from typing import Any, Final, NamedTuple

from eventflow.interrupts.portals import running_loop
from eventflow.interrupts.scopes import CancelScope
from eventflow.primitives.forks import in_children
from eventflow.runs.futures import Future
from eventflow.runs.run import TaskRun

__all__ = ["MISSING", "Computation", "ResultCache", "fresh", "results"]

MISSING: Final = object()
"""Returned by a look-up without a result, since None is a result like any other."""


class Computation:
    """A run that is computing the result of a key, which others wait for."""

    __slots__ = ("future", "run", "thread")

    def __init__(self, run: TaskRun) -> None:
        self.run = run
        self.future: Future[Any] = Future(run)
        self.thread = threading.get_ident()


class _Entry(NamedTuple):
    value: Any
    expires: float


class ResultCache:
    """Results by key, each until it expires; beyond `size` the least recently used are dropped.

    It is safe to use from many threads.
    """

    def __init__(self, size: int = 10_000) -> None:
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._computing: dict[Hashable, Computation] = {}
        self._waiting: dict[int, tuple[CancelScope, Computation]] = {}
        self._size = size
        self._lock = Lock()

    def get(self, key: Hashable) -> Any:
        """Return the result stored under the key, or MISSING."""
        with self._lock:
            return self._get(key)

    def _get(self, key: Hashable) -> Any:
        entry = self._entries.get(key)
        if entry is None:
            return MISSING
        if entry.expires <= time.monotonic():
            del self._entries[key]
            return MISSING
        self._entries.move_to_end(key)

        return entry.value

    def begin(self, key: Hashable, run: TaskRun, *, blocking: bool) -> Any:
        """Return the result stored under the key, or the `Computation` that the run is to wait for.

        MISSING if the run is to compute the result, and call `finish` at its end: no other run is
        computing it, or that one could not end while this one waits. `blocking` tells that the
        wait would block this thread.
        """
        with self._lock:
            value = self._get(key)
            if value is not MISSING:
                return value
            computation = self._computing.get(key)
            if computation is None:
                self._computing[key] = Computation(run)
                return MISSING
            if self._needs(computation, run, blocking=blocking):
                return MISSING
            self._waiting[run.number] = (run.cancel_scope, computation)

            return computation

    def _needs(self, computation: Computation, run: TaskRun, *, blocking: bool) -> bool:
        """Return whether a computation, or one that it waits for, may itself need the run."""
        if blocking and running_loop() is not None:
            return True  # it would block an event loop, which the other may need
        here = threading.get_ident() if blocking else None
        scope = run.cancel_scope
        found = [computation]
        for other in found:
            computing = other.run.cancel_scope
            if other.thread == here or scope is computing or scope.is_below(computing):
                return True
            found += [
                awaited
                for waiting, awaited in self._waiting.values()
                if awaited not in found and (waiting is computing or waiting.is_below(computing))
            ]

        return False

    def finish(self, key: Hashable, run: TaskRun) -> None:
        """Note that a run computes no result any more, nor waits for one; wake those that wait."""
        with self._lock:
            self._waiting.pop(run.number, None)
            computation = self._computing.get(key)
            if computation is None or computation.run is not run:
                return
            del self._computing[key]
        computation.future.finish()

    def put(self, key: Hashable, value: Any, expiration: timedelta | None) -> None:
        """Store a result, until it expires or for ever."""
        seconds = float("inf") if expiration is None else expiration.total_seconds()
        with self._lock:
            self._entries[key] = _Entry(value, time.monotonic() + seconds)
            self._entries.move_to_end(key)
            if len(self._entries) > self._size:
                self._entries.popitem(last=False)

    def clear(self) -> None:
        """Drop every result."""
        with self._lock:
            self._entries.clear()

    def unlock(self) -> None:
        """Renew the lock in a forked child, which lacks the threads that hold it, or compute."""
        self._lock = Lock()
        self._computing = {}
        self._waiting = {}


_process: Final = ResultCache()
_in_force: Final[list[ResultCache]] = [_process]


def _after_fork() -> None:
    for cache in _in_force:
        cache.unlock()


in_children(_after_fork)


def results() -> ResultCache:
    """Return the cache in force; all tasks of the process share its keys, as in Prefect."""
    return _in_force[-1]


@contextmanager
def fresh() -> Iterator[ResultCache]:
    """Put an empty cache in force for a block; for tests."""
    cache = ResultCache()
    _in_force.append(cache)
    try:
        yield cache
    finally:
        _in_force.remove(cache)
