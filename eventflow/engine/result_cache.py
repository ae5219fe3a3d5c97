"""The in-memory cache of task results."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Lock
from typing import Any, Final, NamedTuple

from eventflow.primitives.forks import in_children

__all__ = ["MISSING", "ResultCache", "fresh", "results"]

MISSING: Final = object()
"""Returned by a look-up without a result, since None is a result like any other."""


class _Entry(NamedTuple):
    value: Any
    expires: float


class ResultCache:
    """Results by key, each until it expires; beyond `size` the least recently used are dropped.

    It is safe to use from many threads.
    """

    def __init__(self, size: int = 10_000) -> None:
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._size = size
        self._lock = Lock()

    def get(self, key: str) -> Any:
        """Return the result stored under the key, or MISSING."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return MISSING
            if entry.expires <= time.monotonic():
                del self._entries[key]

                return MISSING
            self._entries.move_to_end(key)

            return entry.value

    def put(self, key: str, value: Any, expiration: timedelta | None) -> None:
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
        """Renew the lock in a forked child, which lacks the thread that may hold it."""
        self._lock = Lock()


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
