"""Exact counts of runs, which take long in a large journal: then a page is shown before them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from threading import Lock
from typing import Final

from eventflow.client.archive import Archive
from eventflow.journal.contract import RunQuery
from eventflow.states import StateType

__all__ = ["Tallies"]

QUICK_SECONDS: Final = 0.03
"""How long a page may wait for its counts before it is shown without them."""

SHARE: Final = 20
"""Counts are made anew after so many times as long as they have taken."""

FADING: Final = 0.8
"""How much of the longest time is expected of the next counts."""

CACHED: Final = 256


class Tallies:
    """Counts the runs of queries, for all pages, as often as that takes little of the time."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._lock = Lock()
        # Of those that an index answers, and of the others.
        self._seconds = {True: 0.0, False: 0.0}
        # With when they were made, and how long that took.
        self._counts: OrderedDict[str, tuple[float, float, Mapping[StateType, int]]] = OrderedDict()

    def of(
        self, archive: Archive, query: RunQuery, *, may_wait: bool
    ) -> Mapping[StateType, int] | None:
        """Count the runs of a query by state; None if that takes longer than the page may wait."""
        query = replace(query, state_types=(), before=None, limit=0)
        key, quick = repr(query), query.top and query.text is None
        with self._lock:
            made, took, counts = self._counts.get(key, (0.0, 0.0, None))
            if counts is not None and self._clock() - made < SHARE * took:
                return counts
            if not may_wait and self._seconds[quick] > QUICK_SECONDS:
                return None
        begun = self._clock()
        counted = archive.journal.tally(query)
        took = self._clock() - begun
        with self._lock:
            self._seconds[quick] = max(took, FADING * self._seconds[quick])
            self._counts[key] = (begun + took, took, counted)
            if len(self._counts) > CACHED:
                self._counts.popitem(last=False)

        return counted
