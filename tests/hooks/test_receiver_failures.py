"""Hooks that fail: isolation, retries, timeouts, exits and cancellations."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from eventflow import Hook, bus, runtime
from eventflow.events import HookDeadLettered, HookFailed, HookOutcome, HookSucceeded
from tests.hooks.callables import arecord, both, calls, record, run_of

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


@both
def test_a_failing_hook_changes_nothing_else(way: str, caplog: pytest.LogCaptureFixture) -> None:
    """Its traceback is logged, its outcome published, the next hook runs; the state stays."""
    outcomes: list[HookOutcome] = []
    bus.subscribe(outcomes.append, event_type=HookOutcome)
    transitions: list[Any] = []
    bus.subscribe(transitions.append, state="Completed")

    def broken(*args: Any) -> None:
        raise ValueError("hook")

    run_of([Hook(broken, state="Completed", id="mine"), Hook(record, state="Completed")], way)
    failed, dead, succeeded = outcomes

    assert isinstance(failed, HookFailed)
    assert isinstance(dead, HookDeadLettered)
    assert isinstance(succeeded, HookSucceeded)
    assert (failed.error.type, failed.error.message) == ("ValueError", "hook")
    assert (failed.hook, failed.attempt, failed.state_name) == ("mine", 1, "Completed")
    assert failed.delivery_id == dead.delivery_id != succeeded.delivery_id
    assert {outcome.follows for outcome in outcomes} == {transitions[0].id}
    assert {outcome.run_id for outcome in outcomes} == {transitions[0].run_id}
    assert failed.duration >= 0
    assert succeeded.hook.endswith(":record")
    record_ = next(record for record in caplog.records if record.levelno == logging.ERROR)
    place = f"{Path(__file__).name}:{broken.__code__.co_firstlineno + 1})"
    assert record_.getMessage().startswith("Hook mine failed on Completed: ValueError: hook (")
    assert record_.getMessage().endswith(place)
    assert record_.exc_info
    assert calls == [("it", "it", "Completed")]


@both
def test_a_hook_is_tried_again(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as it says, after its delays; each failure and the end are published."""
    slept: list[float] = []
    real = asyncio.sleep

    async def asleep(seconds: float) -> None:
        slept.append(seconds)
        await real(0)

    monkeypatch.setattr("eventflow.hooks.receiver.sleep", slept.append)
    monkeypatch.setattr("eventflow.hooks.receiver.asyncio.sleep", asleep)
    outcomes: list[tuple[str, int]] = []
    bus.subscribe(
        lambda event: outcomes.append((type(event).__name__, event.attempt)),
        event_type=HookOutcome,
    )
    times: list[int] = []

    def broken(*args: Any) -> None:
        times.append(1)
        raise ValueError(len(times))

    def late(*args: Any) -> None:
        if runtime.hook.attempt < 2:
            raise ValueError

    state = "Completed"
    run_of([Hook(broken, state=state, retries=2, retry_delay_seconds=[1, 5])], way)
    run_of([Hook(late, state=state, retries=5)], way)

    assert slept == [1, 5]
    assert outcomes == [
        ("HookFailed", 1),
        ("HookFailed", 2),
        ("HookFailed", 3),
        ("HookDeadLettered", 3),
        ("HookFailed", 1),
        ("HookSucceeded", 2),
    ]


@both
@pytest.mark.parametrize("kind", ["sync", "async", "lambda"])
def test_a_hanging_hook_is_given_up(kind: str, way: str) -> None:
    """Past its timeout it has failed; the next hook runs, and does not wait for it."""
    release = threading.Event()
    failures: list[HookFailed] = []
    bus.subscribe(failures.append, event_type=HookFailed)

    def hang(*args: Any) -> None:
        release.wait(60)

    async def ahang(*args: Any) -> None:
        await asyncio.Event().wait()

    fns: dict[str, Callable[..., Any]] = {"sync": hang, "async": ahang}
    fn = fns.get(kind, lambda *args: ahang(*args))  # noqa: PLW0108 - a kind of its own
    hooks = [
        Hook(fn, state="Completed", timeout_seconds=0.01, id="slow"),
        Hook(record, state="Completed"),
    ]
    run_of(hooks, way)
    release.set()

    assert [failure.error.type for failure in failures] == ["eventflow.errors.HookTimeout"]
    assert "slow did not end within its timeout of 0.01 s" in failures[0].error.message
    assert calls == [("it", "it", "Completed")]


def test_a_coroutine_that_is_returned_too_late_is_closed() -> None:
    """None is left unawaited if a plain function returns it after the timeout."""
    release = threading.Event()
    threads: list[threading.Thread] = []
    coroutines: list[Coroutine[Any, Any, None]] = []

    async def never() -> None:
        raise AssertionError

    def slow(*args: Any) -> Any:
        threads.append(threading.current_thread())
        release.wait(60)
        coroutines.append(never())
        return coroutines[0]

    run_of([Hook(slow, state="Completed", timeout_seconds=0.01)], "async")
    release.set()
    threads[0].join(60)
    assert inspect.getcoroutinestate(coroutines[0]) == inspect.CORO_CLOSED


@both
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_timeout_of_the_hooks_own_is_no_hook_timeout(kind: str, way: str) -> None:
    """A TimeoutError that the hook raises itself stays what it is."""
    failures: list[HookFailed] = []
    bus.subscribe(failures.append, event_type=HookFailed)

    def raises(*args: Any) -> None:
        raise TimeoutError("own")

    async def araises(*args: Any) -> None:
        raise TimeoutError("own")

    fn: Callable[..., Any] = raises if kind == "sync" else araises
    run_of([Hook(fn, state="Completed", timeout_seconds=30)], way)

    assert [str(failure.error) for failure in failures] == ["TimeoutError: own"]


@both
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("how", ["sync", "async", "timed"])
def test_an_exit_waits_for_the_remaining_hooks(
    how: str, kind: type[BaseException], way: str
) -> None:
    """It propagates once they have run; the shared loop lives on; there is no second attempt."""
    outcomes: list[str] = []
    bus.subscribe(lambda event: outcomes.append(type(event).__name__), event_type=HookOutcome)

    def leave(*args: Any) -> None:
        raise kind

    async def aleave(*args: Any) -> None:
        raise kind

    first = Hook(
        aleave if how == "async" else leave,
        state="Completed",
        timeout_seconds=30 if how == "timed" else None,
        retries=3,
    )
    with pytest.raises(kind):
        run_of([first, Hook(arecord, state="Completed")], way)

    assert calls == [("it", "it", "Completed")]
    # An interrupted hook stays owed, for another process; one that exits by itself does not.
    dead = [] if kind is KeyboardInterrupt else ["HookDeadLettered"]
    assert outcomes == ["HookFailed", *dead, "HookSucceeded"]


@both
def test_a_cancellation_within_a_hook_is_only_its_failure(way: str) -> None:
    """A hook that awaits something cancelled has failed; the run goes on."""
    failures: list[HookFailed] = []
    bus.subscribe(failures.append, event_type=HookFailed)

    async def awaits_cancelled(*args: Any) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    run_of([Hook(awaits_cancelled, state="Completed"), Hook(record, state="Completed")], way)

    assert [failure.error.type for failure in failures] == ["asyncio.exceptions.CancelledError"]
    assert calls == [("it", "it", "Completed")]


def test_a_cancellation_raised_by_a_plain_hook_is_only_its_failure() -> None:
    """There is no task that could have been cancelled."""
    failures: list[HookFailed] = []
    bus.subscribe(failures.append, event_type=HookFailed)

    def raises(*args: Any) -> None:
        raise asyncio.CancelledError

    run_of([Hook(raises, state="Completed")], "sync")

    assert len(failures) == 1
