"""Loggers of runs: in bodies, hooks, tasks and threads, through the standard `logging`."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import io
import logging
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from eventflow import flow, flow_run_logger, get_run_logger, task, task_run_logger
from eventflow.errors import MissingContextError
from eventflow.logs import run_logger

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


@pytest.fixture(autouse=True)
def every_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "eventflow")


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str | None]]:
    """Return each message with the name of the definition that logged it."""
    return [
        (record.message, getattr(record, "task_name", None) or getattr(record, "flow_name", None))
        for record in caplog.records
        if record.name in {"eventflow.flow_runs", "eventflow.task_runs"}
    ]


def test_everywhere_in_a_run(caplog: pytest.LogCaptureFixture) -> None:
    """Bodies, hooks, tasks, submitted tasks and threads with the context log as their run."""

    def hook(definition: Any, run: Any, state: Any) -> None:
        get_run_logger().info("hook")

    async def ahook(definition: Any, run: Any, state: Any) -> None:
        get_run_logger().info("async hook")

    @task(on_completion=[hook])
    def inner() -> None:
        get_run_logger().warning("task %s of %d", "one", 2)

    @task
    async def ainner() -> None:
        get_run_logger(place="loop").info("async task")

    @flow(on_completion=[hook, ahook])
    def main() -> None:
        get_run_logger().info("flow")
        inner()
        ainner.submit().wait()
        thread = threading.Thread(
            target=contextvars.copy_context().run,
            args=(lambda: get_run_logger().info("thread"),),
        )
        thread.start()
        thread.join()

    main()
    assert logged(caplog) == [
        ("flow", "main"),
        ("task one of 2", "inner"),
        ("hook", "inner"),
        ("async task", "ainner"),
        ("thread", "main"),
        ("hook", "main"),
        ("async hook", "main"),
    ]
    by_message = {record.message: record for record in caplog.records}
    assert by_message["async task"].place == "loop"  # type: ignore[attr-defined]
    assert by_message["task one of 2"].levelname == "WARNING"
    flow_record, task_record = by_message["flow"], by_message["hook"]
    assert flow_record.flow_run_id == by_message["async task"].flow_run_id  # type: ignore[attr-defined]
    assert flow_record.flow_run_name == task_record.flow_run_name  # type: ignore[attr-defined]


def test_outside_of_a_run() -> None:
    """Outside of a run the error names what to use instead."""
    with pytest.raises(MissingContextError, match=r"Use logging\.getLogger\(\) outside"):
        get_run_logger()


def test_loggers_of_given_runs(caplog: pytest.LogCaptureFixture) -> None:
    """A logger can be made for a given run, with its definition or without."""
    runs: list[Any] = []

    @task(on_completion=[lambda task, run, state: runs.append(run)])
    def inner() -> None:
        pass

    @flow(on_completion=[lambda flow, run, state: runs.append(run)])
    def main() -> None:
        inner()

    main()
    of_task, of_flow = runs
    caplog.clear()
    task_run_logger(of_task, inner, extra="e").info("1")
    task_run_logger(of_task).info("2")
    flow_run_logger(of_flow, main).info("3")
    flow_run_logger(of_flow).info("4")
    run_logger(of_task).info("5")
    assert logged(caplog) == [
        *(("1", "inner"), ("2", "inner")),
        *(("3", "main"), ("4", "main")),
        ("5", "inner"),
    ]
    assert caplog.records[0].extra == "e"  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="Expected a flow run or a task run, but got str"):
        run_logger("no run")  # type: ignore[arg-type]


def test_async_runs_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """Each of several runs on a loop logs as itself."""

    @flow(flow_run_name="run-{number}")
    async def main(number: int) -> None:
        for _ in range(3):
            get_run_logger().info(f"run-{number}")
            await asyncio.sleep(0)

    async def both() -> None:
        await asyncio.gather(main(1), main(2))

    asyncio.run(both())
    records = [record for record in caplog.records if record.message.startswith("run-")]
    assert len(records) == 6
    assert all(record.message == record.flow_run_name for record in records)  # type: ignore[attr-defined]
    assert logging.getLogger("eventflow.flow_runs").name == records[0].name


def test_prints_that_are_logged(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """What goes to the standard output is logged, and what is redirected or goes elsewhere not."""
    redirected = io.StringIO()

    @task
    def inner(word: str) -> None:
        print(word)

    @flow(log_prints=True)
    def main() -> None:
        print("plain")
        print("named", file=sys.stdout)
        print("error", file=sys.stderr)
        with contextlib.redirect_stdout(redirected):
            print("captured")
            inner("captured, too")
            print("captured by name", file=sys.stdout)
        inner("of a task")

    main()
    assert [message for message, _ in logged(caplog)] == ["plain", "named", "of a task"]
    assert redirected.getvalue() == "captured\ncaptured, too\ncaptured by name\n"
    assert capsys.readouterr() == ("", "error\n")
    printed = next(record for record in caplog.records if record.message == "of a task")
    assert (printed.funcName, printed.filename) == ("inner", "test_logs.py")


@pytest.mark.parametrize(
    "closing",
    [
        "os.close(2); sys.stderr = None",
        "sys.stderr.close()",
        "os.close(2)",
        # Its descriptor is another file's by now.
        "os.close(2); os.open(os.devnull, os.O_RDONLY)",
        "pass",
    ],
)
def test_a_closed_standard_error(closing: str, tmp_path: Path) -> None:
    """Runs succeed, and what they log is dropped; logging is configured before or after that."""
    body = f"""
    import os, sys
    if sys.argv[1] == "before":
        {closing}
    from eventflow import flow, get_run_logger
    @flow
    def f():
        get_run_logger().warning("a line")
        return 1
    f()
    if sys.argv[1] == "after":
        {closing}
    assert f() == 1
    """
    env = {**os.environ, "EVENTFLOW_HOME": str(tmp_path), "EVENTFLOW_DURABILITY": "off"}
    # Else nothing is left to be flushed at the end.
    env.pop("PYTHONUNBUFFERED", None)
    for moment in ("before", "after"):
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(body), moment],
            check=True,
            timeout=60,
            stderr=subprocess.DEVNULL,
            env=env,
        )
