"""Tracebacks have the frames of the user's code, and none of eventflow."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventflow import bus, flow, get_run_logger, task
from eventflow.errors import ParameterTypeError
from eventflow.events import HookFailed
from eventflow.primitives.texts import traceback_text
from eventflow.primitives.tracebacks import (
    formatted,
    origin,
    origin_in,
    own_traceback,
    trimmed,
)
from eventflow.states import AnyState

pytestmark = pytest.mark.usefixtures("eventflow_isolated")

PACKAGE = f"{Path(traceback_text.__code__.co_filename).parents[1]}/"


@task
def inner() -> None:
    """Fail below a frame of the user's and one of the standard library."""
    json.loads("{")


@task
async def ainner() -> None:
    """Fail."""
    inner()


@flow
def called() -> None:
    """Call a task."""
    inner()


@flow
def submitted() -> None:
    """Submit a task."""
    inner.submit().result()


@flow
async def acalled() -> None:
    """Await a task."""
    await ainner()


@flow
async def asubmitted() -> None:
    """Submit a task to the loop."""
    await ainner.submit()


@flow
def generated() -> Any:
    """Fail between two items."""
    yield 1
    inner()


def state_of(run: Callable[..., Any]) -> AnyState:
    """Run a flow of any kind; return its final state."""
    if run is generated:
        seen: list[AnyState] = []
        subscription = bus.subscribe(lambda event: seen.append(event.run.state), state="Failed")
        with subscription, pytest.raises(ValueError, match="Expecting"):
            list(run())
        return seen[-1]
    result = run(return_state=True)

    state: AnyState = asyncio.run(result) if asyncio.iscoroutine(result) else result

    return state


@pytest.mark.parametrize("run", [called, submitted, acalled, asubmitted, generated])
def test_what_an_event_keeps(run: Callable[..., Any]) -> None:
    """The functions of the user's that were called, in order, down to the library's line."""
    error = state_of(run).error
    assert error is not None
    lines = error.traceback.splitlines()
    assert not any(PACKAGE in line for line in lines)
    assert lines[0] == "Traceback (most recent call last):"
    names = [line.rpartition(" in ")[2] for line in lines if line.startswith("  File ")]
    assert names.count("inner") == 1
    assert names[-4:] == ["inner", "loads", "decode", "raw_decode"]
    assert lines[-1].startswith("json.decoder.JSONDecodeError: ")


def test_a_thread_between_two_frames_of_eventflow(caplog: pytest.LogCaptureFixture) -> None:
    """A sync hook of an async flow runs in a thread of anyio, of which nothing is shown."""
    seen: list[HookFailed] = []

    def broken(flow: object, run: object, state: object) -> None:
        raise OSError("no network")

    @flow(on_completion=[broken])
    async def hooked() -> None:
        pass

    with bus.subscribe(seen.append, event_type=HookFailed):
        asyncio.run(hooked())
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.exc_info is not None
    for frames in (
        [line for line in seen[0].error.traceback.splitlines() if line.startswith("  File ")],
        traceback.extract_tb(record.exc_info[2]),
    ):
        (frame,) = frames
        assert "broken" in str(frame)


def test_what_eventflow_raises_itself() -> None:
    """There is no frame to show, and so no heading."""

    @flow
    def typed(number: int) -> None:
        pass

    error = typed("one", return_state=True).error
    assert error is not None
    assert error.traceback.startswith("eventflow.errors.ParameterTypeError: ")


def test_a_chain_of_exceptions_is_kept() -> None:
    """Causes and groups are shown with the frames of the user's code."""

    @flow
    def grouped() -> None:
        try:
            inner()
        except ValueError as error:
            raise ExceptionGroup("several", [KeyError("two"), error]) from error

    text = formatted(grouped(return_state=True).data)
    assert text.count("JSONDecodeError: ") == 2
    assert "direct cause" in text
    assert "KeyError: 'two'" in text
    assert PACKAGE not in text


def test_an_exception_whose_cause_is_hostile() -> None:
    """What can be had is shown: its own frames."""

    class Hostile(Exception):
        @property
        def __cause__(self) -> BaseException | None:  # type: ignore[override]
            raise RuntimeError("no cause")

    @task
    def hostile() -> None:
        raise Hostile("h")

    text = traceback_text(hostile(return_state=True).data)
    assert text.startswith("Traceback (most recent call last):\n")
    assert "in hostile" in text
    assert text.endswith("Hostile: h\n")
    assert PACKAGE not in text


def test_a_logged_exception_has_the_users_frames(caplog: pytest.LogCaptureFixture) -> None:
    """Whether it is given, or the one that is being handled."""

    @flow
    def logs() -> None:
        try:
            inner()
        except ValueError as error:
            get_run_logger().error("given", exc_info=error)
            get_run_logger().exception("handled")

    logs()
    for message in ("given", "handled"):
        (record,) = [record for record in caplog.records if record.message == message]
        assert record.exc_info is not None
        names = [frame.name for frame in traceback.extract_tb(record.exc_info[2])]
        assert names[:2] == ["logs", "inner"]


def test_where_the_users_code_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its innermost line that is in no library, from the working folder on."""
    monkeypatch.chdir(Path(__file__).parent)
    with pytest.raises(ValueError, match="Expecting") as raised:
        called()
    line = inner.fn.__code__.co_firstlineno + 3
    assert origin(raised.value) == f"test_tracebacks.py:{line}"
    monkeypatch.chdir(tmp_path)
    assert origin(raised.value) == f"{__file__}:{line}"
    assert origin_in(formatted(raised.value)) == f"{__file__}:{line}"


def test_where_a_text_says_that_it_was_raised() -> None:
    """Of a group, of one that a library raised, and of what is no traceback."""
    with pytest.raises(ExceptionGroup) as raised:
        raise ExceptionGroup("several", [ValueError("one")])
    assert origin_in(formatted(raised.value)) == origin(raised.value)
    decoded = task(json.loads)("{", return_state=True).data
    assert origin_in(formatted(decoded)) == origin(decoded)
    assert origin_in("ValueError: File nothing") is None


def test_where_only_a_library_raised() -> None:
    """The line in the library; nothing where there are no frames but those of eventflow."""
    decoded = task(json.loads)("{", return_state=True).data
    assert "decoder.py:" in (origin(decoded) or "")

    @flow
    def typed(number: int) -> None:
        pass

    refused = typed("one", return_state=True).data
    assert isinstance(refused, ParameterTypeError)
    for error in (refused, ValueError()):
        assert trimmed(own_traceback(error)) is None
        assert origin(error) is None
