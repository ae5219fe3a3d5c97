"""Whose a line is that is logged, wherever that is."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest

from eventflow import flow, flow_run_logger, get_run_logger, hook, task, task_run_logger
from tests.forked import in_a_fork
from tests.journal.logged import lines_of, logged_by, messages
from tests.journal.reading import the_recorder, the_run, written

pytestmark = pytest.mark.usefixtures("eventflow_isolated")

lib = logging.getLogger("lib.io")


@pytest.fixture(autouse=True)
def every_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "eventflow")


def test_what_any_logger_logs_in_a_run_is_kept_with_it() -> None:
    """With time, level, logger and message; what is logged outside of runs is not kept."""

    @flow
    def main() -> None:
        lib.warning("slow: %s of %d", "one", 2)
        get_run_logger().info("loading", rows=3)

    lib.warning("before")
    main()
    lib.warning("behind")

    first, second = lines_of("main")
    assert first[1:2] + first[3:] == (1, logging.WARNING, "lib.io", "slow: one of 2", None)
    assert second[1:2] + second[3:] == (
        *(2, logging.INFO, "eventflow.flow_runs", "loading rows=3", None),
    )
    assert the_run("main").created <= first.at <= second.at
    assert written().verify() == []


def test_prints_that_are_logged_are_kept() -> None:
    """Those of flows and tasks that log their prints; no others."""

    @task(log_prints=True)
    def told() -> None:
        print("a", "b", sep="-")

    @flow
    def silent() -> None:
        print("nowhere")
        told()

    silent()

    assert logged_by() == {"told": ["a-b"]}


def test_each_run_has_its_own_lines() -> None:
    """Called, submitted, sync and async, in generators and in threads with the context."""

    @task
    def called() -> None:
        lib.warning("called")

    @task
    async def submitted() -> None:
        await asyncio.sleep(0)
        lib.warning("submitted")

    @task
    def mapped(number: int) -> None:
        lib.warning("mapped %d", number)

    @flow
    def generates() -> Iterator[int]:
        lib.warning("first")
        yield 1
        lib.warning("second")

    @flow
    def main() -> None:
        called()
        submitted.submit().wait()
        mapped.map([1, 2]).wait()
        for _ in generates():
            lib.warning("between")
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(lib.warning, "thread"))
        thread.start()
        thread.join()

    main()

    found = logged_by()
    assert sorted(found.pop("mapped")) == ["mapped 1", "mapped 2"]
    assert found == {
        "main": ["between", "thread"],
        "called": ["called"],
        "submitted": ["submitted"],
        "generates": ["first", "second"],
    }


def test_async_runs_at_once_have_their_own_lines() -> None:
    """Also in tasks of asyncio that they start, and in async generators."""

    async def helper(name: str) -> None:
        await asyncio.sleep(0)
        lib.warning(name)

    @flow
    async def one() -> None:
        await asyncio.gather(helper("one"), asyncio.to_thread(lib.warning, "thread of one"))

    @flow
    async def many() -> AsyncIterator[int]:
        await helper("many")
        yield 1

    async def both() -> None:
        async def consume() -> None:
            async for _ in many():
                lib.warning("nobody's")

        await asyncio.gather(one(), consume())

    asyncio.run(both())

    found = logged_by()
    assert sorted(found["one"]) == ["one", "thread of one"]
    assert found["many"] == ["many"]
    assert set(found) == {"one", "many"}


def test_hooks_log_as_the_run_that_they_are_called_for() -> None:
    """Sync and async, of flows and tasks, declared for all runs; and what they fail with."""

    def told(definition: Any, run: Any, state: Any) -> None:
        lib.warning("told %s", state.name)

    async def atold(definition: Any, run: Any, state: Any) -> None:
        get_run_logger().info("async")

    def fails(definition: Any, run: Any, state: Any) -> None:
        raise ValueError("no")

    hook(state="Completed", run_type="task")(told)

    @task(on_running=[told])
    def step() -> None:
        lib.warning("step")

    @flow(on_completion=[told, atold, fails])
    def main() -> None:
        step()

    main()

    found = logged_by()
    assert found["step"] == ["told Running", "step", "told Completed"]
    assert found["main"][:2] == ["told Completed", "async"]
    assert "fails failed on Completed: ValueError: no" in found["main"][2]
    assert "ValueError: no" in str(lines_of("main")[2].error)


def test_a_flow_that_a_hook_calls_has_its_own_lines() -> None:
    """And the hook goes on logging as its run."""

    @flow
    def inner() -> None:
        lib.warning("inner")

    def calls(definition: Any, run: Any, state: Any) -> None:
        inner()
        lib.warning("behind")

    @flow(on_completion=[calls])
    def main() -> None:
        pass

    main()

    assert logged_by() == {"inner": ["inner"], "main": ["behind"]}


def test_a_hook_of_a_state_that_lasts_logs_as_its_run() -> None:
    """In the thread that calls it while the body executes."""
    told = threading.Event()

    def late(definition: Any, run: Any, state: Any) -> None:
        lib.warning("late")
        told.set()

    @flow(on_overdue=[late], overdue_seconds=0.01)
    def main() -> None:
        assert told.wait(60)

    main()

    assert "late" in messages("main")


def test_a_logger_of_a_given_run_logs_as_that_run() -> None:
    """Anywhere: in another run, and when the run has ended."""
    runs: list[Any] = []

    @task(on_completion=[lambda task, run, state: runs.append(run)])
    def step() -> None:
        pass

    @flow(on_completion=[lambda flow, run, state: runs.append(run)])
    def main() -> None:
        step()
        task_run_logger(runs[0]).warning("from the flow")

    main()
    flow_run_logger(runs[1]).warning("behind")

    assert logged_by() == {"main": ["behind"], "step": ["from the flow"]}


def test_a_name_that_is_no_id_is_only_shown() -> None:
    """A user may bind any value as an id of a run."""

    @flow
    def main() -> None:
        get_run_logger(flow_run_id="the first").info("mine")
        get_run_logger(flow_run_id=str(uuid4()), task_run_id=7).info("mine")

    main()

    assert messages("main") == ["mine", "mine"]
    assert written().verify() == []


def test_lines_of_a_forked_child_are_kept_with_the_run() -> None:
    """It has none of the parent's lines, and becomes an owner for its own."""
    program: list[bool] = []

    @flow
    def main() -> None:
        lib.warning("parent")

        def child() -> bool:
            lib.warning("child")
            return the_recorder().flush()

        program.append(in_a_fork(child))
        lib.warning("parent again")

    main()

    assert program == [True]
    assert sorted(messages("main")) == ["child", "parent", "parent again"]


def test_a_line_of_a_signal_handler_is_kept() -> None:
    """With the run that it interrupts."""
    before = signal.signal(signal.SIGUSR1, lambda *_: lib.warning("handler"))

    @flow
    def main() -> None:
        for number in range(50):
            lib.warning("%d", number)
            signal.raise_signal(signal.SIGUSR1)

    try:
        main()
    finally:
        signal.signal(signal.SIGUSR1, before)

    found = messages("main")
    assert [text for text in found if text != "handler"] == [*map(str, range(50))]
    assert found.count("handler") == 50


def test_lines_of_a_handler_are_kept_when_it_has_ended() -> None:
    """It holds a lock that whoever logs needs, also while the journal is written."""
    seen: list[int] = []

    class Asks(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logging.getLogger("lib.http").warning("sent %s", record.getMessage())
            seen.append(next(the_recorder().sink.writer.line_numbers))

    @flow
    def main() -> None:
        lib.warning("one")
        lib.warning("two")

    handler = Asks()
    lib.addHandler(handler)
    try:
        main()
    finally:
        lib.removeHandler(handler)

    # The numbers that the handler took: no line had one before it had ended.
    assert seen == [1, 4]
    assert messages("main") == ["one", "sent one", "two", "sent two"]
