"""Workers that execute submitted tasks: how few suffice, custom runners, and no garbage."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventflow import as_completed, flow, task, wait
from eventflow.events import Event
from eventflow.runners import ThreadPoolTaskRunner
from eventflow.states import AnyState
from tests.engine.submitted import aadd, add
from tests.engine.transitions import state_names

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


# -- workers ------------------------------------------------------------------------------------


@task
def down(depth: int) -> int:
    return 0 if depth == 0 else down.submit(depth - 1).result() + 1


def chained() -> int:
    future = add.submit(0)
    for _ in range(300):
        future = add.submit(future)
    return future.result()


def nested() -> int:
    result: int = flow(lambda: sum(add.map([1, 2, 3]).result()))()
    return result


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (lambda: down.submit(20).result(), 20),
        (lambda: sum(add.map([1, 2, 3]).result()), 9),
        (lambda: len(wait(add.map([1, 2, 3])).done), 3),
        (lambda: sum(future.result() for future in as_completed(add.map([1, 2, 3]))), 9),
        (chained, 301),
        (nested, 9),
    ],
    ids=["result", "map", "wait", "as_completed", "chain", "flow"],
)
def test_one_worker_is_enough(body: Callable[[], int], expected: int) -> None:
    """A worker that waits for a queued task runs it itself, however deep, in every form."""
    runner = ThreadPoolTaskRunner(1)

    assert flow(task_runner=runner)(lambda: task(body).submit().result())() == expected
    assert repr(runner) == "ThreadPoolTaskRunner(max_workers=1)"


def test_a_runner_needs_workers() -> None:
    """A pool of no threads is refused."""
    with pytest.raises(ValueError, match="max_workers must be 1 or more, but is 0"):
        ThreadPoolTaskRunner(0)


def test_a_runner_of_ones_own() -> None:
    """Anything with `submit` and `is_worker` is a task runner."""

    class SameThread:
        def submit(self, work: Any) -> None:
            work()

        def is_worker(self) -> bool:
            return False

    @task
    def where() -> str:
        return threading.current_thread().name

    @flow(task_runner=SameThread())
    def main() -> str:
        return where.submit().result()

    assert main() == threading.current_thread().name


class AtOnce:
    """A runner whose thread has done the work when `submit` returns."""

    def submit(self, work: Callable[[], object]) -> None:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    def is_worker(self) -> bool:
        return False


def test_a_worker_that_begins_at_once(eventflow_events: list[Event]) -> None:
    """The hooks of Pending are awaited on the loop; the body may begin before that task ends."""
    pending: list[str] = []
    chosen = task(name="work")(add.fn)

    @chosen.on("Pending")
    def note(definition: Any, run: Any, state: AnyState) -> None:
        pending.append(state.name)

    @flow(task_runner=AtOnce())
    async def main() -> int:
        return await chosen.submit(1)

    assert asyncio.run(main()) == 2
    assert pending == ["Pending"]
    assert state_names(eventflow_events, "work") == ["Pending", "Running", "Completed"]


# -- many ---------------------------------------------------------------------------------------


def test_many_tasks() -> None:
    """Thousands of tasks can be mapped in one flow, sync and async."""
    count = 4_000

    @flow
    def main() -> int:
        return sum(add.map(range(count)).result())

    @flow
    async def amain() -> int:
        return sum(await aadd.map(range(count)))

    expected = sum(range(1, count + 1))
    assert main() == expected
    assert asyncio.run(amain()) == expected


GARBAGE = """
import asyncio, gc
from eventflow import flow
from eventflow.wiring import recorder
from tests.engine.submitted import aadd, add

@flow
def main(count):
    for number in range(count):
        add(number)
    add.map(range(count)).wait()

@flow
async def amain(count):
    for number in range(count):
        await aadd(number)
    await aadd.map(range(count))

def garbage(count):
    gc.collect()
    gc.disable()
    try:
        main(count)
        asyncio.run(amain(count))
        return gc.collect()
    finally:
        gc.enable()

garbage(1)
# What the journal imports for its first commit leaves cycles behind.
recorder().flush()
print(garbage(200) - garbage(1))
"""


def test_runs_make_no_garbage() -> None:
    """A plain run leaves no reference cycle: nothing waits for the garbage collector.

    In a process of its own, where nothing else is freed meanwhile.
    """
    command = [sys.executable, "-c", GARBAGE]
    env = {**os.environ, "EVENTFLOW_LOG_LEVEL": "WARNING"}
    ended = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.stderr == ""
    assert int(ended.stdout) < 20


@pytest.mark.parametrize("way", ["result", "wait", "as_completed", "wait for all"])
def test_waiting_with_a_timeout_in_a_full_pool(way: str) -> None:
    """The task that is waited for is executed in the place of the worker that waits."""
    inner = task(lambda: 3)

    @task
    def outer() -> int:
        future = inner.submit()
        if way == "as_completed":
            return next(iter(as_completed([future], timeout=60))).result()
        if way == "wait for all":
            return sum(done.result() for done in wait([future], timeout=60).done)
        return future.result(timeout=60) if way == "result" or future.wait(60) else -1

    @flow(task_runner=ThreadPoolTaskRunner(1))
    def main() -> list[int]:
        return [outer.submit().result(), outer.submit().result()]

    assert main() == [3, 3]


def test_a_timeout_in_a_full_pool_is_kept() -> None:
    """Also while the task goes on that another thread executes."""
    go = threading.Event()
    inner = task(lambda: go.wait(60))

    @task
    def outer() -> bool:
        future = inner.submit()
        with pytest.raises(TimeoutError):
            future.result(timeout=0.01)
        go.set()
        return future.result()

    @flow(task_runner=ThreadPoolTaskRunner(1))
    def main() -> bool:
        return outer.submit().result()

    assert main()
