"""Workers that die, executors that break or repeat what they are given, and strangers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from eventflow import State, flow
from eventflow.events import Event, StateTransition
from eventflow.runners import ExecutorTaskRunner, ProcessPoolTaskRunner
from eventflow.runners.failures import WorkerLostError, WorkersFailedError
from tests.runners import bodies

# In one process: the pools of workers are made once.
pytestmark = [pytest.mark.usefixtures("eventflow_isolated"), pytest.mark.xdist_group("runners")]


ROOT = Path(__file__).parents[2]


def names_of(events: list[Event], run_name: str) -> list[str]:
    return [
        event.to_state.name
        for event in events
        if isinstance(event, StateTransition) and event.run_name == run_name
    ]


def pids_of(folder: Path, name: str) -> list[int]:
    return [int(line) for line in (folder / f"{name}.pids").read_text().split()]


def kill(folder: Path, name: str) -> None:
    """Kill the worker that executes a body which has begun."""
    bodies.wait_for(folder / name)
    os.kill(pids_of(folder, name)[-1], signal.SIGKILL)


def test_the_death_of_a_worker_crashes_its_run_and_no_other(
    workers: Any, tmp_path: Path, eventflow_events: list[Event]
) -> None:
    """The hooks run; the neighbour ends as if nothing had happened; what waits is executed."""
    hooked: list[tuple[str, str]] = []
    named = bodies.meet.with_options(
        task_run_name="{name}",
        on_crashed=[lambda task, run, state: hooked.append((run.name, state.name))],
    )

    @flow(task_runner=workers)
    def work() -> State[int]:
        victim = named.submit(tmp_path, "victim", "never")
        neighbour = named.submit(tmp_path, "neighbour", "go")
        for name in ("victim", "neighbour"):
            bodies.wait_for(tmp_path / name)
        waiting = [bodies.add.submit(each) for each in range(10)]
        kill(tmp_path, "victim")
        victim.wait()
        (tmp_path / "go").touch()
        assert [one.result() for one in waiting] == list(range(1, 11))
        assert neighbour.result() == pids_of(tmp_path, "neighbour")[0]
        assert bodies.process.submit().result() != pids_of(tmp_path, "victim")[0]
        return victim.state

    state = work(return_state=True).result(raise_on_failure=False)
    assert hooked == [("victim", "Crashed")]
    assert names_of(eventflow_events, "victim") == ["Pending", "Running", "Crashed"]
    assert names_of(eventflow_events, "neighbour") == ["Pending", "Running", "Completed"]
    assert [len(pids_of(tmp_path, name)) for name in ("victim", "neighbour")] == [1, 1]
    with pytest.raises(WorkerLostError, match=f"process {pids_of(tmp_path, 'victim')[0]} on "):
        state.result()


def test_the_death_of_a_worker_fails_the_attempt_and_a_retry_goes_on(
    workers: Any, tmp_path: Path, eventflow_events: list[Event]
) -> None:
    retried = bodies.meet.with_options(task_run_name="{name}", retries=1)

    @flow(task_runner=workers)
    def work() -> int:
        future = retried.submit(tmp_path, "victim", "go")
        kill(tmp_path, "victim")
        (tmp_path / "go").touch()
        return future.result()

    pid = work()
    assert names_of(eventflow_events, "victim") == [
        *("Pending", "Running", "AwaitingRetry", "Retrying", "Completed")
    ]
    assert pids_of(tmp_path, "victim")[1:] == [pid]


def test_a_pool_that_is_broken_is_replaced(tmp_path: Path) -> None:
    """One pool for all: what had not begun when it broke is executed by the next one."""
    import concurrent.futures
    import multiprocessing

    made: list[Executor] = []

    def make() -> Executor:
        context = multiprocessing.get_context("spawn")
        made.append(concurrent.futures.ProcessPoolExecutor(1, mp_context=context))
        return made[-1]

    with ExecutorTaskRunner(make) as runner:

        @flow(task_runner=runner)
        def work() -> tuple[str, list[int]]:
            victim = bodies.meet.submit(tmp_path, "victim", "never")
            bodies.wait_for(tmp_path / "victim")
            waiting = [bodies.add.submit(each) for each in range(5)]
            kill(tmp_path, "victim")
            victim.wait()
            return victim.state.name, [one.result() for one in waiting]

        assert work() == ("Crashed", [1, 2, 3, 4, 5])
    assert len(made) == 2


class Scripted(Executor):
    """An executor that does with each call what a function says."""

    def __init__(self, script: Callable[[Callable[[], Any], Future[Any]], object]) -> None:
        self.script = script
        self.threads = ThreadPoolExecutor(4)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.threads.submit(self.script, lambda: fn(*args, **kwargs), future)
        return future


@pytest.fixture
def scripted() -> Iterator[Callable[..., ExecutorTaskRunner]]:
    made: list[Scripted] = []

    def make(script: Callable[[Callable[[], Any], Future[Any]], object]) -> ExecutorTaskRunner:
        made.append(Scripted(script))
        return ExecutorTaskRunner(made[-1])

    yield make
    for executor in made:
        executor.threads.shutdown()


def test_an_executor_that_repeats_a_call_is_refused(
    scripted: Callable[..., ExecutorTaskRunner], tmp_path: Path
) -> None:
    """As Dask and Ray do where a worker dies: the body is executed once."""
    refused: list[str] = []

    def repeat(call: Callable[[], Any], future: Future[Any]) -> None:
        (tmp_path / "go").touch()
        result = call()
        refused.append(call()[1].how)
        future.set_result(result)
        refused.append(call()[1].how)

    runner = scripted(repeat)

    @flow(task_runner=runner)
    def work() -> int:
        return bodies.meet.submit(tmp_path, "once", "go").result()

    assert work() == os.getpid()
    assert len(pids_of(tmp_path, "once")) == 1
    assert refused[:1] == ["refused"]


def test_an_executor_may_say_under_its_lock_that_it_is_broken() -> None:
    """As process pools do since Python 3.12: what has not begun is shipped again all the same."""
    lock, calls = threading.Lock(), list[None]()

    class Locking(Scripted):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            with lock:
                return super().submit(fn, *args, **kwargs)

        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            with lock:
                self.threads.shutdown(wait=False)

    def break_once(call: Callable[[], Any], future: Future[Any]) -> None:
        calls.append(None)
        if len(calls) > 1:
            future.set_result(call())
            return
        with lock:
            future.set_exception(BrokenExecutor())

    with ExecutorTaskRunner(lambda: Locking(break_once)) as runner:

        @flow(task_runner=runner)
        def work() -> int:
            return bodies.add.submit(1).result()

        assert work() == 2
    assert len(calls) == 2


def test_a_call_that_ends_before_it_has_begun_is_shipped_again(
    scripted: Callable[..., ExecutorTaskRunner],
) -> None:
    calls: list[None] = []

    def cancel_first(call: Callable[[], Any], future: Future[Any]) -> None:
        calls.append(None)
        if len(calls) == 1:
            future.cancel()
            future.set_running_or_notify_cancel()
        else:
            future.set_result(call())

    runner = scripted(cancel_first)

    @flow(task_runner=runner)
    def work() -> int:
        return bodies.add.submit(1).result()

    assert work() == 2
    assert len(calls) == 2


def test_workers_that_always_end_before_they_begin_are_given_up() -> None:
    class Broken(Executor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            raise BrokenExecutor("no worker can be started")

    @flow(task_runner=ExecutorTaskRunner(Broken))
    def work() -> int:
        return bodies.add.submit(1).result()

    with pytest.raises(WorkersFailedError, match=r"3 times in a row.*no worker can be started"):
        work()


def test_an_executor_that_cannot_be_made_fails_the_run() -> None:
    def make() -> Executor:
        raise OSError("no such cluster")

    @flow(task_runner=ExecutorTaskRunner(make))
    def work() -> int:
        return bodies.add.submit(1).result()

    with pytest.raises(WorkersFailedError, match="no such cluster"):
        work()


DIES = """
import os, signal, sys
from pathlib import Path
from eventflow import flow
from eventflow.runners import ProcessPoolTaskRunner
from tests.runners import bodies

folder = Path(sys.argv[1])

@flow(task_runner=ProcessPoolTaskRunner(1))
def work() -> None:
    bodies.meet.submit(folder, "first", "first").result()
    bodies.wait_long.submit(folder)
    bodies.wait_for(folder / "began")
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    work()
"""


def test_workers_end_with_the_process_at_home(tmp_path: Path) -> None:
    """The body is stopped, and cleans up; then its worker ends."""
    script = tmp_path / "dies.py"
    script.write_text(DIES)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    died = subprocess.run(
        [sys.executable, script, tmp_path], env=environment, timeout=60, check=False
    )
    assert died.returncode == -signal.SIGKILL
    bodies.wait_for(tmp_path / "stopped")
    [pid] = pids_of(tmp_path, "first")
    wait_for_end(pid)


def wait_for_end(pid: int) -> None:
    """Wait until a process is gone, which is no child of this one."""
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        while True:
            os.kill(pid, 0)
            # Nobody may have taken notice of its end.
            stat = Path(f"/proc/{pid}/stat")
            if stat.exists() and stat.read_text().split(") ")[1][0] == "Z":
                return
            time.sleep(0.02)


def test_what_waits_behind_a_long_body_is_executed_by_a_free_worker(
    processes: ProcessPoolTaskRunner, tmp_path: Path
) -> None:
    @flow(task_runner=processes)
    def work() -> None:
        long = bodies.meet.submit(tmp_path, "long", "end")
        bodies.wait_for(tmp_path / "long")
        assert [one.result() for one in [bodies.add.submit(each) for each in range(6)]]
        (tmp_path / "end").touch()
        long.result()

    work()


def test_a_stranger_on_the_line_is_not_heard(
    threads_of_others: ExecutorTaskRunner, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever does not know the key is sent away, and the line goes on."""
    address = threads_of_others.home_address.address
    assert isinstance(address, str)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(address)
        stranger.sendall((20).to_bytes(4, "big") + b'["leave",1,1]       ')
        while stranger.recv(1024):
            pass

    @flow(task_runner=threads_of_others)
    def work() -> int:
        return bodies.add.submit(1).result()

    assert work() == 2
    assert any("does not know the key" in line for line in caplog.messages)


def test_a_flow_in_a_thread_of_the_pool_waits_for_workers(
    processes: ProcessPoolTaskRunner,
) -> None:
    """More of them than there are threads: the runs on workers need such threads to go on."""
    from eventflow.runners.threads import default
    from eventflow.tasks import task

    together = threading.Barrier(default.max_workers)

    @flow(task_runner=processes)
    def inner(value: int) -> int:
        together.wait(20)
        return bodies.add.submit(value).result()

    @task
    def outer_task(value: int) -> int:
        return inner(value)

    @flow
    def work() -> list[int]:
        return outer_task.map(range(default.max_workers)).result()

    assert work() == [each + 1 for each in range(default.max_workers)]


@pytest.mark.parametrize("wrong", [0, -1])
def test_there_is_at_least_one_worker(wrong: int) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        ProcessPoolTaskRunner(wrong)
    with pytest.raises(ValueError, match="1 or more"):
        ExecutorTaskRunner(ThreadPoolExecutor, pools=wrong)


def test_several_pools_have_to_be_made() -> None:
    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="pools is 2"):
        ExecutorTaskRunner(executor, pools=2)
