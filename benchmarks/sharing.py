"""A program that runs tasks on demand, as one of several processes on one journal.

Each line on stdin is a number of task runs: they are made in one flow, and `done` is printed once
all of it is in the journal. The hooks are guarded.
"""

from __future__ import annotations

import sys

from benchmarks.calls import hook, work
from benchmarks.catalogue import drained
from eventflow import flow, task

__all__ = ["many"]

DONE = "done"

called = task(on_completion=[hook])(work)


@flow(on_completion=[hook])
def many(count: int) -> None:
    """Run so many tasks."""
    for number in range(count):
        called(number)


if __name__ == "__main__":
    turn = drained(many)
    turn(1)
    print(DONE, flush=True)
    for line in sys.stdin:
        turn(int(line))
        print(DONE, flush=True)
