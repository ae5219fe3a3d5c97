"""The cache of results: keys, expiry, bounds."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest

from eventflow.runs import result_cache
from eventflow.runs.result_cache import MISSING, ResultCache


def test_a_result_is_kept() -> None:
    """None is a result like any other; what was never kept is missing."""
    cache = ResultCache()
    cache.put("key", None, None)

    assert cache.get("key") is None
    assert cache.get("other") is MISSING
    cache.clear()
    assert cache.get("key") is MISSING


def test_a_result_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time it is gone, and not a moment before."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    cache = ResultCache()
    cache.put("key", 1, timedelta(seconds=10))

    now[0] = 109.9
    assert cache.get("key") == 1
    now[0] = 110.0
    assert cache.get("key") is MISSING
    assert cache.get("key") is MISSING


def test_the_least_recently_used_goes_first() -> None:
    """The number of results is bounded; a look-up counts as a use."""
    cache = ResultCache(size=2)
    cache.put("a", 1, None)
    cache.put("b", 2, None)
    cache.get("a")
    cache.put("c", 3, None)

    assert [cache.get(key) for key in "abc"] == [1, MISSING, 3]


def test_many_threads_may_use_it() -> None:
    """Nothing breaks, and the bound holds, when all begin at once."""
    cache = ResultCache(size=5)
    barrier = threading.Barrier(8)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        barrier.wait()
        try:
            for turn in range(200):
                cache.put(str((number + turn) % 10), turn, None)
                cache.get(str(turn % 10))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not errors
    assert sum(cache.get(str(key)) is not MISSING for key in range(10)) == 5


def test_a_fresh_cache_is_in_force_for_a_block() -> None:
    """Blocks nest, and leave what was before."""
    before = result_cache.results()
    with result_cache.fresh() as outer:
        with result_cache.fresh() as inner:
            assert result_cache.results() is inner
        assert result_cache.results() is outer

    assert result_cache.results() is before
