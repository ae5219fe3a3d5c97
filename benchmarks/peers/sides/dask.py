"""Dask's side: delayed calls on its threads, with a callback that it calls after each task."""

from __future__ import annotations

from typing import Any

import dask
from dask.callbacks import Callback

from benchmarks.peers.serving import serve, timed


class AfterEach(Callback):
    """Is called by Dask after each task, as a hook would be."""

    def _posttask(self, key: str, result: Any, dsk: Any, state: Any, worker_id: Any) -> None:
        pass


@dask.delayed
def work(number: int) -> int:
    """Do next to nothing."""
    return number


def direct(count: int) -> None:
    """Compute so many delayed calls, one after the other."""
    with AfterEach():
        for number in range(count):
            work(number).compute(scheduler="threads")


def submitted(count: int) -> None:
    """Compute so many delayed calls at once."""
    with AfterEach():
        dask.compute(*[work(number) for number in range(count)], scheduler="threads")


if __name__ == "__main__":
    serve({"task.direct": timed(direct), "task.submitted": timed(submitted)})
