"""Lifecycles: every row of the design's two tables, for flows and tasks, sync and async."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from eventflow import flow
from eventflow.errors import UnfinishedRun
from eventflow.events import Event, StateTransition
from eventflow.states import (
    AnyState,
    Completed,
    Crashed,
    Failed,
    Running,
    StateType,
)
from tests.engine.kinds import Kind, raising
from tests.engine.transitions import checked_state_names


def test_completed(kind: Kind, eventflow_events: list[Event]) -> None:
    """A body that returns completes its run."""
    assert kind.execute(kind.declare(lambda: 7)) == 7
    assert checked_state_names(eventflow_events) == ["Pending", "Running", "Completed"]


def test_failed(kind: Kind, eventflow_events: list[Event]) -> None:
    """A body that raises any Exception fails its run, and the caller gets that exception."""
    error = LookupError("nothing there")
    with pytest.raises(LookupError) as caught:
        kind.execute(kind.declare(raising(error)))

    assert caught.value is error
    assert checked_state_names(eventflow_events) == ["Pending", "Running", "Failed"]
    last = eventflow_events[-1]
    assert isinstance(last, StateTransition)
    assert last.to_state.message == "The body raised LookupError: nothing there"
    assert last.to_state.error is not None
    assert last.to_state.error.type == "LookupError"
    assert "raise error" in last.to_state.error.traceback


def test_a_timeout_error_of_the_body_is_a_plain_failure(
    kind: Kind, eventflow_events: list[Event]
) -> None:
    """A TimeoutError that the body raises itself is Failed, not TimedOut."""
    state = kind.state(kind.declare(raising(TimeoutError("mine")), timeout_seconds=60))

    assert (state.name, state.type) == ("Failed", StateType.FAILED)
    assert checked_state_names(eventflow_events) == ["Pending", "Running", "Failed"]


@pytest.mark.parametrize("delay", [None, 0, 0.001])
def test_retry(kind: Kind, delay: float | None, eventflow_events: list[Event]) -> None:
    """Between two attempts lie AwaitingRetry and Retrying, with and without a delay."""
    failures = [ValueError("first"), ValueError("second")]

    def body() -> str:
        if failures:
            raise failures.pop(0)
        return "done"

    assert kind.execute(kind.declare(body, retries=3, retry_delay_seconds=delay)) == "done"
    assert checked_state_names(eventflow_events) == [
        *("Pending", "Running"),
        *("AwaitingRetry", "Retrying"),
        *("AwaitingRetry", "Retrying"),
        "Completed",
    ]
    counts = [event.run_count for event in eventflow_events if isinstance(event, StateTransition)]
    assert counts == [0, 1, 1, 2, 2, 3, 3]


def test_retries_used_up(kind: Kind, eventflow_events: list[Event]) -> None:
    """on_failure runs once, after the last retry."""
    seen: list[tuple[int, str]] = []
    hooks = [lambda definition, run, state: seen.append((run.run_count, state.name))]
    state = kind.state(kind.declare(raising(ValueError()), retries=1, on_failure=hooks))

    assert state.is_failed()
    assert seen == [(2, "Failed")]
    assert checked_state_names(eventflow_events) == [
        "Pending",
        "Running",
        "AwaitingRetry",
        "Retrying",
        "Failed",
    ]


def test_timeout(kind: Kind, eventflow_events: list[Event]) -> None:
    """A body that exceeds the run's own timeout ends TimedOut, of type FAILED."""
    definition = kind.declare(kind.wait_forever, timeout_seconds=0.02)
    state = kind.state(definition)

    assert (state.name, state.type) == ("TimedOut", StateType.FAILED)
    assert checked_state_names(eventflow_events) == ["Pending", "Running", "TimedOut"]
    with pytest.raises(TimeoutError, match=r"did not end within its timeout of 0\.02 s"):
        state.result()


def test_timeout_is_retried(kind: Kind, eventflow_events: list[Event]) -> None:
    """A timeout is retried like any failure, and each attempt has the whole time."""
    attempts: list[int] = []

    def body() -> Any:
        attempts.append(1)
        return kind.wait_forever() if len(attempts) == 1 else "in time"

    assert kind.execute(kind.declare(body, timeout_seconds=0.05, retries=1)) == "in time"
    assert checked_state_names(eventflow_events) == [
        "Pending",
        "Running",
        "AwaitingRetry",
        "Retrying",
        "Completed",
    ]


@pytest.mark.parametrize("is_async", [False, True])
def test_cached(is_async: bool, eventflow_events: list[Event]) -> None:
    """A task whose result is known goes from Pending to Cached, of type COMPLETED."""
    kind = Kind("task", is_async)
    calls: list[int] = []

    def body() -> int:
        calls.append(1)
        return 7

    cached = kind.declare(body, cache_key_fn=lambda context, given: "key")

    assert kind.execute(cached) == 7
    assert checked_state_names(eventflow_events) == ["Pending", "Running", "Completed"]
    eventflow_events.clear()
    state = kind.state(cached)

    assert (state.name, state.type, state.result()) == ("Cached", StateType.COMPLETED, 7)
    assert checked_state_names(eventflow_events) == ["Pending", "Cached"]
    assert calls == [1]


def test_bad_arguments(kind: Kind, eventflow_events: list[Event]) -> None:
    """Arguments that do not fit the signature fail the run before its body."""
    state = kind.state(kind.declare(lambda number: number), 1, 2, 3, retries=2)

    assert state.is_failed()
    assert checked_state_names(eventflow_events) == ["Pending", "Failed"]
    assert "cannot be called with 3 positional argument(s)" in (state.message or "")


def test_upstream_failed(kind: Kind, eventflow_events: list[Event]) -> None:
    """A run whose upstream did not complete becomes NotReady and gives no result."""
    definition = kind.declare(lambda: 1)
    with pytest.raises(UnfinishedRun, match=r"An upstream run did not complete: Failed"):
        kind.execute(definition, wait_for=[Failed()])

    assert checked_state_names(eventflow_events) == ["Pending", "NotReady"]


@pytest.mark.parametrize("state", [Completed(data=1), Failed(message="m"), Crashed(message="m")])
def test_a_body_returns_a_state(kind: Kind, state: AnyState, eventflow_events: list[Event]) -> None:
    """A body that returns a state gives its run that state, as an entry of its own."""
    ended = kind.state(kind.declare(lambda: state))

    assert (ended.name, ended.message, ended.data) == (state.name, state.message, state.data)
    assert ended.id != state.id
    assert checked_state_names(eventflow_events) == ["Pending", "Running", state.name]


def test_a_body_returns_a_state_of_its_own_name(kind: Kind, eventflow_events: list[Event]) -> None:
    """A custom name of a terminal type is kept."""
    ended = kind.state(kind.declare(lambda: Completed(name="Skipped", data=2)))

    assert (ended.name, ended.result()) == ("Skipped", 2)
    assert checked_state_names(eventflow_events) == ["Pending", "Running", "Skipped"]


def test_a_body_returns_a_state_that_ends_nothing(
    kind: Kind, eventflow_events: list[Event]
) -> None:
    """A state that cannot end a run fails it, and says so."""
    ended = kind.state(kind.declare(lambda: [Running()][0]))

    assert ended.message == "The body returned the state Running(), which does not end a run."
    assert checked_state_names(eventflow_events) == ["Pending", "Running", "Failed"]


def test_a_returned_failure_is_retried(kind: Kind, eventflow_events: list[Event]) -> None:
    """A body that returns a failed state is retried like one that raises."""
    states = [Failed(message="not yet"), Completed(data="now")]

    assert kind.execute(kind.declare(lambda: states.pop(0), retries=1)) == "now"
    assert checked_state_names(eventflow_events) == [
        "Pending",
        "Running",
        "AwaitingRetry",
        "Retrying",
        "Completed",
    ]


def test_times_are_set_before_terminal_hooks(kind: Kind) -> None:
    """A terminal hook finds the run's end and its total time."""
    seen: list[Any] = []

    def record(definition: Any, run: Any, state: AnyState) -> None:
        seen.append((run.start_time, run.end_time, run.total_run_time, state))

    kind.execute(kind.declare(lambda: 1, on_completion=[record]))
    ((start, end, total, state),) = seen
    assert start <= end == state.timestamp
    assert 0 <= total.total_seconds() < 60


def test_hooks_run_outside_of_the_timeout(kind: Kind) -> None:
    """A hook that takes longer than the run may is not cut short."""
    done: list[str] = []

    def slow(definition: Any, run: Any, state: AnyState) -> None:
        threading.Event().wait(0.05)
        done.append(state.name)

    kind.execute(
        kind.declare(lambda: 1, timeout_seconds=0.02, on_running=[slow], on_completion=[slow])
    )
    assert done == ["Running", "Completed"]


# -- retry conditions ---------------------------------------------------------------------------


async def _acondition(definition: Any, run: Any, state: AnyState) -> bool:
    return isinstance(state.data, ValueError)


@pytest.mark.parametrize(
    "condition", [_acondition, lambda definition, run, state: isinstance(state.data, ValueError)]
)
@pytest.mark.parametrize("is_async", [False, True])
def test_retry_condition(
    is_async: bool, condition: Callable[..., object], eventflow_events: list[Event]
) -> None:
    """A condition, sync or async, decides from the failed state whether there is a retry."""
    kind = Kind("task", is_async)
    errors: list[Exception] = [ValueError(), KeyError()]

    def body() -> None:
        raise errors.pop(0)

    state = kind.state(kind.declare(body, retries=5, retry_condition_fn=condition))
    assert isinstance(state.data, KeyError)
    assert checked_state_names(eventflow_events) == [
        "Pending",
        "Running",
        "AwaitingRetry",
        "Retrying",
        "Failed",
    ]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_retry_condition_that_raises(
    is_async: bool, eventflow_events: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    """A condition that raises means no retry, and is logged."""
    kind = Kind("task", is_async)

    def condition(*given: Any) -> bool:
        raise RuntimeError("broken condition")

    state = kind.state(kind.declare(raising(ValueError()), retries=5, retry_condition_fn=condition))
    assert state.is_failed()
    assert checked_state_names(eventflow_events) == ["Pending", "Running", "Failed"]
    assert "The retry condition failed; no retry" in caplog.text
    assert "broken condition" in caplog.text


def test_a_state_quotes_no_input_of_a_validation_error() -> None:
    """What a model refused in a body may have been given for a secret."""

    class Login(BaseModel):
        user: str
        code: SecretStr

    @flow
    def body() -> None:
        Login.model_validate({"code": f"hunter{1 + 1}"})

    state = body(return_state=True)
    assert state.message is not None
    assert "Field required" in state.message
    assert "hunter2" not in state.message
