"""Results of tasks that need not be computed again, kept in memory."""

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
"""What a look-up gives when there is no result, since None is a result like any other."""


class _Kept(NamedTuple):
    value: Any
    expires: float


class ResultCache:
    """Results by key, each until it expires, the least recently used dropped first.

    Safe to use from many threads. `size` bounds how many results are kept.
    """

    def __init__(self, size: int = 10_000) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._size = size
        self._lock = Lock()

    def get(self, key: str) -> Any:
        """Give the result kept under the key, or MISSING."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                return MISSING
            if kept.expires <= time.monotonic():
                del self._kept[key]

                return MISSING
            self._kept.move_to_end(key)

            return kept.value

    def put(self, key: str, value: Any, expiration: timedelta | None) -> None:
        """Keep a result, for ever or for so long."""
        lasts = float("inf") if expiration is None else expiration.total_seconds()
        with self._lock:
            self._kept[key] = _Kept(value, time.monotonic() + lasts)
            self._kept.move_to_end(key)
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)

    def clear(self) -> None:
        """Forget every result."""
        with self._lock:
            self._kept.clear()

    def unlock(self) -> None:
        """Be free in a forked child: whoever had the lock in the parent is not here."""
        self._lock = Lock()


_process: Final = ResultCache()
_in_force: Final[list[ResultCache]] = [_process]


def _after_fork() -> None:
    for cache in _in_force:
        cache.unlock()


in_children(_after_fork)


def results() -> ResultCache:
    """Give the cache in force: keys are shared by all tasks of the process, as in Prefect."""
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
