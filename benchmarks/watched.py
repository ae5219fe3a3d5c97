"""A program whose runs are watched on the page: many small flows, or one with many tasks."""

from __future__ import annotations

import sys
import time
from typing import Final

from benchmarks.archives import etl
from eventflow import flow, runtime, task
from eventflow.testing import flush

__all__: list[str] = []

FLOWS_A_SECOND: Final = 5
TASKS: Final = 10


@task
def step(number: int) -> int:
    """Do nothing."""
    return number


@flow
def many(tasks: int) -> None:
    """Tell the id of this run, and call so many tasks."""
    print(runtime.flow_run.id, flush=True)
    for number in range(tasks):
        step(number)


def for_ever() -> None:
    """Run small flows, one after another, until this process is ended."""
    begin = 1
    print("begun", flush=True)
    while True:
        etl(begin, begin + TASKS)
        begin += TASKS
        time.sleep(1 / FLOWS_A_SECOND)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        many(int(sys.argv[1]))
        ended = time.time()
        flush()
        print(ended, flush=True)
    else:
        for_ever()
