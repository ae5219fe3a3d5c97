"""Lanes: spans side by side, so that none overlaps another in its lane."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush

__all__ = ["lanes_of"]


def lanes_of(times: Sequence[tuple[int, int]]) -> list[int]:
    """Return a lane for each stretch of time, from 0 on: as few lanes as possible."""
    lanes = [0] * len(times)
    free: list[int] = []
    busy: list[tuple[int, int]] = []
    count = 0
    for place in sorted(range(len(times)), key=lambda place: times[place]):
        begin, end = times[place]
        while busy and busy[0][0] <= begin:
            heappush(free, heappop(busy)[1])
        if free:
            lane = heappop(free)
        else:
            lane, count = count, count + 1
        lanes[place] = lane
        heappush(busy, (end, lane))

    return lanes
