"""Empty tasks on executors, bare and with eventflow: `python -m benchmarks.executors`.

Both submit so many calls and wait for their results, in turn, in one process, with as many workers.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Final

import loky

from eventflow import flow, task
from eventflow.runners import ExecutorTaskRunner, ProcessPoolTaskRunner
from eventflow.settings import (
    EVENTFLOW_DURABILITY,
    EVENTFLOW_LOG_LEVEL,
    Durability,
    temporary_settings,
)
from eventflow.testing import flush, isolated

__all__ = ["compare", "main"]

Sides = tuple[Callable[[int], object], Callable[[int], object]]

KINDS: Final = ("processes", "loky")
MODES: Final[tuple[Durability, ...]] = ("off", "process")


def bare_work(number: int) -> int:
    """Return what it is given."""
    return number


@task
def work(number: int) -> int:
    """Return what it is given."""
    return number


def _loky_pool() -> Executor:
    pool: Executor = loky.ProcessPoolExecutor(1)

    return pool


@contextmanager
def sides(kind: str, workers: int) -> Iterator[Sides]:
    """Give the bare executor and the task runner, each as a function of the number of tasks."""
    if kind == "processes":
        context = multiprocessing.get_context("spawn")
        executor: Executor = ProcessPoolExecutor(workers, mp_context=context)
        runner: ExecutorTaskRunner = ProcessPoolTaskRunner(workers)
    else:
        executor = loky.ProcessPoolExecutor(workers)
        runner = ExecutorTaskRunner(_loky_pool, pools=workers)

    @flow(task_runner=runner)
    def ours(count: int) -> list[int]:
        return [future.result() for future in [work.submit(each) for each in range(count)]]

    def bare(count: int) -> list[int]:
        futures = [executor.submit(bare_work, each) for each in range(count)]
        return [future.result() for future in futures]

    with executor, runner:
        yield bare, ours


def _seconds(side: Callable[[int], object], count: int) -> float:
    begin = time.perf_counter()
    side(count)
    seconds = time.perf_counter() - begin
    # Not measured, nor left to the next turn.
    flush()

    return seconds


def compare(kind: str, mode: Durability, tasks: int, rounds: int) -> list[tuple[float, float]]:
    """Return the seconds for all tasks, of the bare executor and of eventflow, for each round."""
    settings = {EVENTFLOW_DURABILITY: mode, EVENTFLOW_LOG_LEVEL: "WARNING"}
    with temporary_settings(settings), isolated(), sides(kind, workers=2) as (bare, ours):
        for side in (bare, ours):
            side(min(tasks, 500))
        return [(_seconds(bare, tasks), _seconds(ours, tasks)) for _ in range(rounds)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each kind of executor, without and with the journal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kind", choices=KINDS, action="append")
    given = parser.parse_args(arguments)
    for kind in given.kind or KINDS:
        for mode in MODES:
            pairs = compare(kind, mode, given.tasks, given.rounds)
            ratio = statistics.median(ours / bare for bare, ours in pairs)
            bare, ours = (
                statistics.median(side) / given.tasks * 1e6 for side in zip(*pairs, strict=True)
            )
            print(
                f"{kind:<10} journal {mode:<8} bare {bare:6.0f} µs  eventflow {ours:6.0f} µs  "
                f"{ratio:.2f} ×",
                flush=True,
            )


if __name__ == "__main__":
    main()
