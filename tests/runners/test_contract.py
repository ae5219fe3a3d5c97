"""What holds for every runner: results, events, retries, timeouts, logs, errors."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from eventflow import State, flow, runtime, tags, task
from eventflow.errors import MissingContextError
from eventflow.events import Event, StateTransition
from eventflow.runners import ExecutorTaskRunner, ProcessPoolTaskRunner
from eventflow.runners.failures import RemoteError, UnpicklableError
from tests.runners import bodies

# In one process: the pools of workers are made once.
pytestmark = [pytest.mark.usefixtures("eventflow_isolated"), pytest.mark.xdist_group("runners")]


def names_of(events: list[Event], task_name: str) -> list[str]:
    return [
        event.to_state.name if isinstance(event, StateTransition) else type(event).__name__
        for event in events
        if isinstance(event, bodies.Counted)
        or (isinstance(event, StateTransition) and event.definition_name == task_name)
    ]


def test_results_come_home_and_go_on_to_other_tasks(runner: Any) -> None:
    @flow(task_runner=runner)
    def work() -> Any:
        first: Any = bodies.add.submit(1)
        second = bodies.add.submit(first, other=first)
        lists = [bodies.doubled.submit([first, 7]), bodies.doubled.submit([])]
        return second.result(), [one.result() for one in lists], bodies.add.map([1, 2, 3]).result()

    assert work() == (4, [[4, 14], []], [2, 3, 4])


def test_the_runner_of_a_flow_is_an_option(workers: Any) -> None:
    @flow
    def work() -> int:
        return bodies.process.submit().result()

    assert work() == os.getpid()
    assert work.with_options(task_runner=workers)() != os.getpid()


async def _in_async_flow(runner: Any) -> int:
    @flow(task_runner=runner)
    async def work() -> int:
        return await bodies.add.submit(await bodies.add.submit(1))

    return await work()


def test_an_async_flow_awaits_what_it_submits(runner: Any) -> None:
    import asyncio

    assert asyncio.run(_in_async_flow(runner)) == 3


def test_the_events_of_a_run_are_in_order(runner: Any, eventflow_events: list[Event]) -> None:
    seen: list[str] = []
    hooked = bodies.count_to.with_options(
        on_running=[lambda task, run, state: seen.append("running")],
        on_completion=[lambda task, run, state: seen.append(f"completed {state.result()}")],
    )

    @flow(task_runner=runner)
    def work() -> int:
        return hooked.submit(3).result()

    assert work() == 3
    counted = ["Counted"] * 3
    assert names_of(eventflow_events, "count_to") == ["Pending", "Running", *counted, "Completed"]
    numbers = [each.number for each in eventflow_events if isinstance(each, bodies.Counted)]
    assert numbers == [0, 1, 2]
    assert seen == ["running", "completed 3"]


def test_a_failed_attempt_is_retried(
    runner: Any, tmp_path: Path, eventflow_events: list[Event]
) -> None:
    @flow(task_runner=runner)
    def work() -> int:
        delayed = bodies.fails_first.with_options(retry_delay_seconds=[0, 0.01])
        return delayed.submit(tmp_path).result()

    assert work() == 2
    assert names_of(eventflow_events, "fails_first") == [
        *("Pending", "Running", "AwaitingRetry", "Retrying", "AwaitingRetry", "Retrying"),
        "Completed",
    ]


def test_a_timeout_stops_the_body(runner: Any, tmp_path: Path) -> None:
    @flow(task_runner=runner)
    def work() -> State[Any]:
        limited = bodies.wait_long.with_options(timeout_seconds=0.3)
        return limited.submit(tmp_path, return_state=True)

    state = work(return_state=True).result(raise_on_failure=False)
    assert (state.name, state.message) == (
        "TimedOut",
        "The body did not end within its timeout of 0.3 s.",
    )
    assert (tmp_path / "stopped").read_text() == "Interrupted"


def test_a_cancellation_reaches_the_body(
    runner: Any, tmp_path: Path, eventflow_events: list[Event]
) -> None:
    @flow(task_runner=runner)
    def work() -> None:
        future = bodies.wait_long.submit(tmp_path)
        bodies.wait_for(tmp_path / "began")
        assert future.cancel()
        future.wait()

    work()
    assert names_of(eventflow_events, "wait_long") == [
        *("Pending", "Running", "Cancelling", "Cancelled"),
    ]
    assert (tmp_path / "stopped").read_text() == "Interrupted"


def test_what_waits_for_a_worker_is_cancelled_at_once(runner: Any, tmp_path: Path) -> None:
    """The body of none begins, although no worker is ever free for it."""

    @flow(task_runner=runner)
    def work() -> list[str]:
        holding = [bodies.meet.submit(tmp_path, f"holder {at}", "go") for at in range(2)]
        for at in range(2):
            bodies.wait_for(tmp_path / f"holder {at}")
        waiting = [bodies.meet.submit(tmp_path, f"waiting {at}", "go") for at in range(5)]
        for future in waiting:
            future.cancel()
        if isinstance(runner, ExecutorTaskRunner):
            for future in waiting:
                future.wait()
        (tmp_path / "go").touch()
        for future in [*holding, *waiting]:
            future.wait()
        return [future.state.name for future in (*holding, *waiting)]

    assert work() == ["Completed"] * 2 + ["Cancelled"] * 5
    assert not list(tmp_path.glob("waiting *"))


def test_tasks_are_submitted_by_flows_and_not_by_bodies_elsewhere(shipping: Any) -> None:
    @flow(task_runner=shipping)
    def work() -> int:
        return bodies.submits.submit().result()

    with pytest.raises(MissingContextError, match=r"add\.submit\(\).*executed by a worker"):
        work()


def test_a_body_calls_tasks_itself(runner: Any) -> None:
    @flow(task_runner=runner)
    def work() -> int:
        return bodies.calls.submit().result()

    assert work() == 5


def test_logs_are_those_of_the_run(
    runner: Any, caplog: pytest.LogCaptureFixture, eventflow_events: list[Event]
) -> None:
    @flow(task_runner=runner)
    def work() -> None:
        bodies.say.submit("this").result()

    work()
    heard, seen, failed = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert (heard.getMessage(), heard.name) == ("heard this", "eventflow.task_runs")
    [run_id, *_] = [
        str(event.run_id)
        for event in eventflow_events
        if isinstance(event, StateTransition) and event.definition_name == "say"
    ]
    assert (vars(heard)["task_run_id"], vars(heard)["colour"]) == (run_id, "red")
    assert (seen.getMessage(), seen.name) == ("seen this", "elsewhere")
    assert "ValueError: this" in f"{failed.exc_text or ''}{failed.stack_info or ''}"


def test_prints_are_logged(runner: Any, caplog: pytest.LogCaptureFixture) -> None:
    # Workers log what their process at home logs, as its level was when they were first reached.
    caplog.set_level(logging.INFO, "eventflow")

    @flow(task_runner=runner)
    def work() -> None:
        bodies.speak.submit("this").result()

    work()
    assert "this aloud" in caplog.messages


def test_a_body_knows_its_run(runner: Any) -> None:
    @flow(task_runner=runner, name="outer")
    def work(day: str) -> Any:
        with tags("around"):
            future = bodies.facts.submit(7)
        own = runtime.flow_run
        expected = {
            "task_run": str(future.task_run_id),
            "name": future.run.name,
            "tags": ["around", "own"],
            "parameters": {"value": 7},
            "run_count": 1,
            "flow_run": own.id,
            "flow": "outer",
            "flow_run_name": own.name,
            "flow_parameters": {"day": "monday"},
        }
        return future.result(), expected

    found, expected = work("monday")
    assert found == expected


def test_the_exception_of_a_body_comes_home(runner: Any) -> None:
    @flow(task_runner=runner)
    def work() -> State[Any]:
        return bodies.fail.submit(KeyError, "name", return_state=True)

    state = work(return_state=True).result(raise_on_failure=False)
    assert state.message == "The body raised KeyError: 'name'"
    assert state.error is not None
    assert "raise make(*args)" in state.error.traceback
    with pytest.raises(KeyError, match="name"):
        state.result()


@pytest.mark.parametrize(
    ("make", "args", "message"),
    [
        (bodies.Unpicklable, (), "tests.runners.bodies.Unpicklable: holds a lock"),
        (bodies.FailsUnpickling, ("1", "2"), "tests.runners.bodies.FailsUnpickling: 1 and 2"),
    ],
)
def test_an_exception_that_cannot_come_home_is_told_of(
    shipping: Any, make: Any, args: tuple[str, ...], message: str
) -> None:
    @flow(task_runner=shipping)
    def work() -> None:
        bodies.fail.submit(make, *args).result()

    with pytest.raises(RemoteError) as caught:
        work()
    assert str(caught.value) == message
    assert "raise make(*args)" in str(caught.value.__cause__)


def test_an_exit_ends_the_run_and_not_the_worker(runner: Any) -> None:
    @flow(task_runner=runner)
    def work() -> tuple[str, int]:
        future = bodies.leave.submit(3)
        future.wait()
        return future.state.name, bodies.add.submit(1).result()

    assert work() == ("Crashed", 2)


def test_an_argument_that_cannot_be_sent_is_named(shipping: Any) -> None:
    @flow(task_runner=shipping)
    def work() -> State[Any]:
        return bodies.add.submit(1, other=threading.Lock(), return_state=True)

    state = work(return_state=True).result(raise_on_failure=False)
    assert state.name == "Failed"
    assert state.message is not None
    assert "The argument 'other' of the task add cannot be pickled" in state.message
    with pytest.raises(UnpicklableError):
        state.result()


def test_a_result_that_cannot_be_sent_is_told_of(shipping: Any) -> None:
    @flow(task_runner=shipping)
    def work() -> None:
        bodies.returns_lock.submit().result()

    with pytest.raises(UnpicklableError, match="The result of the task returns_lock, a lock"):
        work()


def test_functions_without_a_module_are_sent_as_they_are(runner: Any) -> None:
    offset = 40

    @task(name="inner")
    def inner(value: int) -> int:
        return value + offset

    @flow(task_runner=runner)
    def work() -> int:
        return inner.submit(2).result()

    assert work() == 42


def test_methods_are_bound_to_what_is_sent(runner: Any) -> None:
    @flow(task_runner=runner)
    def work() -> int:
        return bodies.Adder(5).add.submit(1).result()

    assert work() == 6


def test_running_says_where_the_body_is(workers: Any, eventflow_events: list[Event]) -> None:
    @flow(task_runner=workers)
    def work() -> int:
        return bodies.process.submit().result()

    pid = work()
    [state] = [
        event.to_state
        for event in eventflow_events
        if isinstance(event, StateTransition)
        and (event.definition_name, event.to_state.name) == ("process", "Running")
    ]
    assert state.state_details.worker_pid == pid
    assert state.state_details.worker_host
    assert state.message == f"Executed by process {pid} on {state.state_details.worker_host}."


def test_a_large_result_comes_home(processes: ProcessPoolTaskRunner) -> None:
    @flow(task_runner=processes)
    def work() -> bytes:
        return bodies.repeated.submit(b"0123456789", 10_000_000).result()

    assert len(work()) == 100_000_000


def test_large_arguments_are_told_of_once(
    processes: ProcessPoolTaskRunner, caplog: pytest.LogCaptureFixture
) -> None:
    large = bodies.length.with_options(name="large")

    @flow(task_runner=processes)
    def work() -> list[int]:
        return large.map([bytes(10_000_000), bytearray(10_000_000)]).result()

    assert work() == [10_000_000] * 2
    [line] = [each for each in caplog.messages if "arguments" in each]
    assert line.startswith("The arguments of the task large take 10 MB")
