"""Tracing: one structured line per transition and per hook outcome."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from eventflow import EventBus, FlowRun, Hook, flow, get_run_logger, hook, task, tracing, use_bus
from eventflow.primitives.escapes import CONTROLS
from eventflow.settings import EVENTFLOW_LOG_FORMAT, EVENTFLOW_LOG_LEVEL, temporary_settings
from eventflow.testing import Isolated

OwnStderr: TypeAlias = Callable[[Callable[[], object]], list[str]]

pytestmark = pytest.mark.usefixtures("eventflow_isolated", "restored_logger")


@task(retries=1)
def fails() -> None:
    """Fail always."""
    raise ValueError("first line\nsecond line")


@flow
def tries() -> str:
    """Survive a task that fails."""
    fails(return_state=True)
    return "survived"


@pytest.fixture
def own_stderr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> OwnStderr:
    """Return a function that runs another as in a program that has not set up logging.

    It returns the lines that were written to stderr.
    """

    def run(work: Callable[[], object]) -> list[str]:
        # Here and not in the fixture: pytest sets its handlers anew for each phase of a test.
        with monkeypatch.context() as patch:
            patch.setattr(logging.getLogger(), "handlers", [])
            tracing.enable()
            work()
        return capsys.readouterr().err.splitlines()

    return run


def traced(caplog: pytest.LogCaptureFixture) -> list[Any]:
    """Return the records of the trace itself."""
    return [record for record in caplog.records if record.name == "eventflow.trace"]


def test_every_transition_is_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """It names the run, the states, the duration, the attempt and the cause."""
    tracing.enable()
    tries()
    records = traced(caplog)
    assert [(line.run_type, line.from_state, line.to_state, line.attempt) for line in records] == [
        ("flow", None, "Pending", 0),
        ("flow", "Pending", "Running", 1),
        ("task", None, "Pending", 0),
        ("task", "Pending", "Running", 1),
        ("task", "Running", "AwaitingRetry", 1),
        ("task", "AwaitingRetry", "Retrying", 2),
        ("task", "Retrying", "Failed", 2),
        ("flow", "Running", "Completed", 1),
    ]
    first, failed, last = records[0], records[6], records[-1]
    assert first.duration is None
    assert last.duration > 0
    assert last.definition == "tries"
    assert last.run_id == last.flow_run_id == failed.flow_run_id == first.run_id
    assert last.run_name == first.run_name
    assert last.type == "eventflow.flow-run.Completed"
    assert (failed.error_type, failed.error_message) == ("ValueError", "first line\nsecond line")
    assert failed.cause == "ValueError: first line\nsecond line"
    assert failed.follows is not None
    assert failed.getMessage().endswith(": ValueError: first line")


def test_what_is_traced_is_not_reported_as_well(caplog: pytest.LogCaptureFixture) -> None:
    """The start and the end of a run are lines of their own only where nobody traces."""
    caplog.set_level("INFO", "eventflow")
    with tracing.enable():
        tries()
    assert [record for record in caplog.records if record.name == "eventflow.runs"] == []
    tries()
    assert len([record for record in caplog.records if record.name == "eventflow.runs"]) == 3


def test_levels_tell_failures_apart(caplog: pytest.LogCaptureFixture) -> None:
    """INFO is the rule; a retry is a WARNING, a failure an ERROR."""
    tracing.enable()
    tries()
    levels = {record.to_state: record.levelname for record in traced(caplog)}
    assert levels == {
        "Pending": "INFO",
        "Running": "INFO",
        "AwaitingRetry": "WARNING",
        "Retrying": "INFO",
        "Failed": "ERROR",
        "Completed": "INFO",
    }


def test_every_outcome_of_a_hook_is_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """The success of a hook, each failure, and its dead letter."""

    def fine(flow: object, run: FlowRun, state: object) -> None:
        """Do nothing."""

    def broken(flow: object, run: FlowRun, state: object) -> None:
        raise OSError("no network")

    @flow(on_completion=[fine, Hook(broken, retries=1)])
    def hooked() -> int:
        return 1

    tracing.enable()
    hooked()
    outcomes = [record for record in traced(caplog) if hasattr(record, "hook")]
    assert [(line.type.rpartition(".")[2], line.attempt, line.levelname) for line in outcomes] == [
        ("HookSucceeded", 1, "INFO"),
        ("HookFailed", 1, "ERROR"),
        ("HookFailed", 2, "ERROR"),
        ("HookDeadLettered", 2, "ERROR"),
    ]
    last = outcomes[-1]
    assert last.hook.endswith("broken")
    assert last.state == "Completed"
    assert last.cause == "OSError: no network"
    assert (last.run_type, last.definition) == ("flow", "hooked")
    assert "broken for Completed is given up (attempt 2)" in last.getMessage()


def test_a_bus_is_traced_once(
    caplog: pytest.LogCaptureFixture, eventflow_isolated: Isolated
) -> None:
    """Enabling it again returns the same subscription; no line is logged once it is cancelled."""
    subscription = tracing.enable()
    assert tracing.enable(eventflow_isolated.bus) is subscription
    tries()
    assert len(traced(caplog)) == 8
    subscription.cancel()
    tries()
    assert len(traced(caplog)) == 8
    assert tracing.enable() is not subscription


def test_a_bus_of_ones_own_can_be_traced(caplog: pytest.LogCaptureFixture) -> None:
    """`enable(bus)` traces that bus and no other."""
    own = EventBus()
    with tracing.enable(own):
        tries()
        assert traced(caplog) == []
        with use_bus(own):
            tries()
    assert len(traced(caplog)) == 8


def test_lines_for_machines_are_flat_json(own_stderr: OwnStderr) -> None:
    """One JSON object a line with flat keys, tracebacks included."""

    @hook(run_type="flow", state="Completed")
    def broken(flow: object, run: FlowRun, state: object) -> None:
        raise OSError("no network")

    with temporary_settings({EVENTFLOW_LOG_FORMAT: "json"}):
        lines = [json.loads(line) for line in own_stderr(tries)]
    assert all(not isinstance(value, dict | list) for line in lines for value in line.values())
    failed = next(line for line in lines if line.get("to_state") == "Failed")
    assert failed["level"] == "error"
    assert failed["logger"] == "eventflow.trace"
    assert failed["event"].startswith("Retrying → Failed (attempt 2) after ")
    (trace,) = (line["exception"] for line in lines if "exception" in line)
    assert trace.startswith("Traceback (most recent call last):\n")
    assert trace.endswith("OSError: no network")


def test_lines_for_people_are_short(own_stderr: OwnStderr) -> None:
    """Time, level, run, and what happened; users' own keys, and no ids."""

    @flow
    def speaks() -> None:
        get_run_logger().warning("hello", state="blue", count=3)

    with temporary_settings({EVENTFLOW_LOG_FORMAT: "console"}):
        lines = [line.split(maxsplit=3) for line in own_stderr(speaks)]
    assert [line[1] for line in lines] == ["INFO", "INFO", "WARNING", "INFO"]
    assert all(line[2].startswith("speaks/") for line in lines)
    assert lines[2][3] == "hello state=blue count=3"
    assert lines[3][3].startswith("Running → Completed after ")


def test_the_level_is_a_setting(own_stderr: OwnStderr) -> None:
    """At level ERROR only failures are logged."""
    with temporary_settings({EVENTFLOW_LOG_LEVEL: "ERROR", EVENTFLOW_LOG_FORMAT: "console"}):
        (only,) = own_stderr(tries)
    assert "Retrying → Failed (attempt 2)" in only


@pytest.mark.parametrize("chosen", ["console", "json"])
def test_only_records_begin_a_line(own_stderr: OwnStderr, chosen: str) -> None:
    """Neither a message nor a traceback looks like a record, or acts on the terminal."""
    evil = "x\x1b[2J\x9b\n12:00:00.000 INFO    bank:transfer  approved"

    @flow(name=evil, flow_run_name=evil)
    def bank() -> None:
        get_run_logger().info(evil, note=evil, exc_info=ValueError(evil))
        raise ValueError(evil)

    with temporary_settings({EVENTFLOW_LOG_FORMAT: chosen}):
        lines = own_stderr(lambda: bank(return_state=True))
    assert any("approved" in line for line in lines)
    assert not any(CONTROLS.search(line) for line in lines)
    assert not any(line.startswith("12:00") for line in lines)
