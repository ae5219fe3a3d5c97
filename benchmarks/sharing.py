"""A process that runs tasks when it is told to, as a program: one of several on one journal.

Each line that it reads is a number of task runs; it makes them in one flow, waits until all of it
is in the journal, and says so. The hooks are guarded.
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
