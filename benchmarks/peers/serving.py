"""The worker's end of the pipe: reads which work to do how often, and answers how long it took.

A line comes in, `{"work": "task.direct", "count": 100}`; a line goes out, `{"nanoseconds": 1234}`
or `{"error": "..."}`. It runs in the environments of the peers, so it needs no package but theirs.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
from collections.abc import Callable, Coroutine, Mapping
from time import perf_counter_ns
from typing import Any, TextIO, TypeAlias

__all__ = ["Work", "on_loop", "serve", "timed"]

Work: TypeAlias = Callable[[int], int]
"""Does a piece of work so many times; returns the nanoseconds that this took."""


def timed(work: Callable[[int], object]) -> Work:
    """Make a work of a function, all of whose time counts."""

    def run(count: int) -> int:
        begin = perf_counter_ns()
        work(count)
        return perf_counter_ns() - begin

    return run


def on_loop(runner: asyncio.Runner, work: Callable[[int], Coroutine[Any, Any, int]]) -> Work:
    """Make a work of a coroutine function, on a loop that does not run between the turns."""
    return lambda count: runner.run(work(count))


def serve(works: Mapping[str, Work]) -> None:
    """Serve requests until the pipe is closed."""
    # The output of a peer must not mix with the answers.
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        _answer(answers, {"works": sorted(works)})
        for line in sys.stdin:
            _answer(answers, _done(works, **json.loads(line)))


def _done(works: Mapping[str, Work], work: str, count: int) -> dict[str, object]:
    try:
        return {"nanoseconds": works[work](count)}
    except Exception:  # noqa: BLE001 - sent to the other end
        return {"error": traceback.format_exc()}


def _answer(answers: TextIO, answer: Mapping[str, object]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
