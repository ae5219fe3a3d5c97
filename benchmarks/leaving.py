"""`python -m benchmarks.leaving`: what it costs to leave a hook to a worker, and what one runs.

It prints the time of a task call without a hook, with one that its process runs, and with one that
is left to a worker: the best of several rounds, called in one flow. Then the time of a hook that a
worker runs: that of all that were left, by one worker, once its process has loaded the program.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import count, takewhile
from typing import Any, Final

from eventflow import Hook, flow, task
from eventflow.recovery.workers.worker import Worker
from eventflow.settings import EVENTFLOW_JOURNAL_URL
from eventflow.testing import flush

__all__ = ["main"]

ROUNDS: Final = 5

LEASE_SECONDS: Final = 15.0


def nothing(_definition: Any, _run: Any, _state: Any) -> None:
    """Be a hook."""


@task
def bare() -> None:
    """Have no hook."""


@task(on_completion=[nothing])
def own() -> None:
    """Have a hook that this process runs."""


@task(hooks=[Hook(nothing, state="Completed", where="worker")])
def left() -> None:
    """Have a hook that is left to a worker."""


@flow
def calls(called: Callable[[], None], times: int) -> float:
    """Return the seconds of a call, in the best round."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(times):
            called()
        rounds.append(time.perf_counter() - began)

    return min(rounds) / times


def worked() -> tuple[int, float]:
    """Run all that was left; return how many hooks, and the seconds of each but the first."""
    with Worker(EVENTFLOW_JOURNAL_URL.value(), "process", (), LEASE_SECONDS) as worker:
        worker.attempt()
        began = time.perf_counter()
        attempts = sum(1 for _ in takewhile(lambda _: worker.attempt() is not None, count()))

        return attempts + 1, (time.perf_counter() - began) / max(1, attempts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, on a journal in a file of its own, or in another one."""
    parser = argparse.ArgumentParser(prog="benchmarks.leaving", description=__doc__)
    parser.add_argument("--calls", type=int, default=200, help="of each task, in a round")
    parser.add_argument("--journal", help="the URL of a journal, which is left as it is then")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as home:
        # The process of the worker has the environment of this one.
        os.environ |= {"EVENTFLOW_HOME": home, "EVENTFLOW_LOG_LEVEL": "ERROR"}
        if options.journal:
            os.environ[EVENTFLOW_JOURNAL_URL.name] = options.journal
        for called in (bare, own, left):
            seconds = calls(called, options.calls)
            print(f"{called.name}: {seconds * 1e6:.0f} µs")
            flush()
        hooks, seconds = worked()
        print(f"{hooks} hooks of a worker: {seconds * 1e3:.1f} ms each")


if __name__ == "__main__":
    main()
