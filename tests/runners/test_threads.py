"""The pool of threads: bounded, started when needed, and usable while the interpreter ends."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import textwrap
import threading

import pytest

from eventflow.runners import TaskRunner, ThreadPoolTaskRunner


def test_the_pool_is_bounded_and_in_order() -> None:
    """No more than `max_workers` threads work at once, and they begin in order of submission."""
    runner = ThreadPoolTaskRunner(2)
    seen: list[int] = []
    names: set[str] = set()
    lock, done = threading.Lock(), threading.Semaphore(0)
    meet = threading.Barrier(2)

    def work(number: int) -> None:
        with lock:
            seen.append(number)
            names.add(threading.current_thread().name)
        meet.wait(10)
        assert runner.is_worker()
        done.release()

    for number in range(6):
        runner.submit(functools.partial(work, number))
    for _ in range(6):
        assert done.acquire(timeout=10)
    assert [sorted(seen[place : place + 2]) for place in (0, 2, 4)] == [[0, 1], [2, 3], [4, 5]]
    assert len(names) == 2
    assert not runner.is_worker()
    assert isinstance(runner, TaskRunner)


class HeldLock:
    """A lock that a worker cannot take before the test allows it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.requested, self.may_take = threading.Event(), threading.Event()

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            self.requested.set()
            assert self.may_take.wait(60)
        self.lock.acquire()

    def __exit__(self, *raised: object) -> None:
        self.lock.release()


def test_work_that_is_submitted_while_the_last_worker_leaves_is_done() -> None:
    """The worker has found the queue empty, and checks it once more under the lock."""
    runner = ThreadPoolTaskRunner(1)
    held_lock = HeldLock()
    runner._lock = held_lock  # type: ignore[assignment]
    first, second = threading.Event(), threading.Event()
    runner.submit(first.set)
    assert first.wait(60)
    assert held_lock.requested.wait(60)
    runner.submit(second.set)
    held_lock.may_take.set()
    assert second.wait(60)


def test_much_work_is_done_by_few_threads() -> None:
    """All of it, once each; a pool that was idle begins again."""
    runner = ThreadPoolTaskRunner(3)
    for _ in range(2):
        done = threading.Semaphore(0)
        seen: list[int] = []

        def work(number: int, done: threading.Semaphore = done, seen: list[int] = seen) -> None:
            seen.append(number)
            done.release()

        for number in range(500):
            runner.submit(functools.partial(work, number))
        for _ in range(500):
            assert done.acquire(timeout=60)
        assert sorted(seen) == list(range(500))


def test_work_that_fails_is_logged_and_stops_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    """The thread goes on with the next work, whatever was raised."""
    runner = ThreadPoolTaskRunner(1)
    done = threading.Event()

    def fail() -> None:
        raise SystemExit(3)

    runner.submit(fail)
    runner.submit(done.set)
    assert done.wait(60)
    assert [record.message for record in caplog.records] == ["Submitted work failed"]


def test_a_default_size() -> None:
    """Without a number the pool has four threads more than processors, and at most 32."""
    assert 5 <= ThreadPoolTaskRunner().max_workers <= 32


def test_a_reset_pool() -> None:
    """A runner whose threads did not survive a fork starts new ones."""
    runner = ThreadPoolTaskRunner(1)
    done = threading.Event()
    runner.submit(done.set)
    assert done.wait(10)
    runner.reset()
    again = threading.Event()
    runner.submit(again.set)
    assert again.wait(10)


def test_while_the_interpreter_ends() -> None:
    """A flow that still runs while the interpreter ends executes its tasks itself."""
    script = """
        import threading
        from eventflow import flow, task

        @task
        def add(number): return number + 1

        @flow
        def main():
            ready.set()
            threading.main_thread().join()
            return add.submit(1).result()

        ready = threading.Event()
        threading.Thread(target=lambda: print(main())).start()
        ready.wait(10)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "EVENTFLOW_LOG_LEVEL": "WARNING"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")
