"""Kill workers at random while they execute many tasks: `python -m tests.crash.workers --kills 50`.

Each body notes that it ran. What must hold whatever is killed: all runs end, Completed or Crashed;
a body has run at most once for each attempt, which was given leave; no more runs are Crashed than
workers were killed; nothing hangs.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from eventflow import flow, task
from eventflow.events import StateTransition
from eventflow.runners import ExecutorTaskRunner, ProcessPoolTaskRunner
from eventflow.settings import EVENTFLOW_LOG_LEVEL, temporary_settings
from eventflow.testing import capture_events, isolated

__all__ = ["campaign", "main"]


@task
def noted(number: int, file: str, seconds: float) -> int:
    """Note that the body ran, and where."""
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, f"{number} {os.getpid()}\n".encode())
    finally:
        os.close(descriptor)
    time.sleep(seconds)
    return number


def loky_pool() -> Executor:
    """Make a pool of one worker."""
    import loky

    pool: Executor = loky.ProcessPoolExecutor(1)
    return pool


def runner_of(kind: str) -> ExecutorTaskRunner:
    """Make a runner with two workers."""
    if kind == "loky":
        return ExecutorTaskRunner(loky_pool, pools=2)

    return ProcessPoolTaskRunner(2)


class Killer:
    """Kills a worker that has begun a body, at random moments."""

    def __init__(self, file: Path, kills: int, seed: int) -> None:
        self.killed: set[int] = set()
        self._file = file
        self._kills = kills
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        while len(self.killed) < self._kills:
            if self._stop.wait(self._random.uniform(0.0, 0.2)):
                return
            lines = self._file.read_text().splitlines() if self._file.exists() else []
            alive = {int(line.split()[1]) for line in lines} - self.killed
            for pid in self._random.sample(sorted(alive), min(1, len(alive))):
                self.killed.add(pid)
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """Kill no more."""
        self._stop.set()
        self._thread.join()


def campaign(kind: str, tasks: int, kills: int, retries: int, seed: int) -> Counter[str]:
    """Run the tasks, kill workers meanwhile, and check what must hold; return what happened."""
    retried = noted.with_options(retries=retries)
    called: list[str] = []
    hooked = retried.with_options(
        on_crashed=[lambda _task, run, _state: called.append(str(run.id))]
    )
    with (
        temporary_settings({EVENTFLOW_LOG_LEVEL: "CRITICAL"}),
        tempfile.TemporaryDirectory() as folder,
        isolated(),
        runner_of(kind) as runner,
        capture_events() as events,
    ):
        file = Path(folder) / "noted"

        @flow(task_runner=runner)
        def work() -> list[Any]:
            seconds = random.Random(seed)
            futures = [
                hooked.submit(each, str(file), seconds.choice((0, 0, 0.001, 0.02)))
                for each in range(tasks)
            ]
            killer = Killer(file, kills, seed)
            try:
                for future in futures:
                    assert future.wait(120), "A run has not ended."
            finally:
                killer.stop()
            counts["killed"] = len(killer.killed)
            return [(str(future.task_run_id), future.state.name) for future in futures]

        counts: Counter[str] = Counter()
        states = work()
        ran = Counter(int(line.split()[0]) for line in file.read_text().splitlines())
    begun = Counter(
        str(event.run_id)
        for event in events
        if isinstance(event, StateTransition) and event.to_state.name in ("Running", "Retrying")
    )
    crashed = [name for name, state in states if state == "Crashed"]
    counts.update(state for _, state in states)
    counts["bodies"] = sum(ran.values())
    counts["attempts"] = sum(begun[name] for name, _ in states)
    assert set(counts) <= {"killed", "Completed", "Crashed", "bodies", "attempts"}, counts
    for number, (name, _) in enumerate(states):
        # One less where the worker was killed between its leave and the first line of the body.
        assert ran[number] <= begun[name], (number, ran[number], begun[name])
    assert counts["attempts"] - tasks <= counts["killed"] * (1 if retries else 0), counts
    assert len(crashed) <= counts["killed"], counts
    assert sorted(called) == sorted(crashed), (called, crashed)

    return counts


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a campaign for each kind of runner, and with and without retries."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kind", choices=("processes", "loky"), action="append")
    given = parser.parse_args(arguments)
    for kind in given.kind or ("processes", "loky"):
        for retries in (0, 5):
            for seed in range(given.rounds):
                counts = campaign(kind, given.tasks, given.kills, retries, seed)
                print(kind, "retries", retries, "seed", seed, dict(counts), flush=True)


if __name__ == "__main__":
    main()
