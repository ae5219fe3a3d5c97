"""Redelivery: the remaining attempts of a delivery that is still owed."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from eventflow import Hook, bus, runtime, task
from eventflow.events import HookFailed, HookOutcome
from eventflow.hooks import receiver
from eventflow.hooks.delivery import Delivery
from eventflow.hooks.ledger import Attempt, DeliveryStatus
from eventflow.hooks.receiver import redeliver
from eventflow.primitives.ids import delivery_id
from eventflow.runs.run import TaskRun, Transition
from eventflow.states import Completed, Pending, Running
from eventflow.testing import capture_events
from tests.hooks.callables import KINDS, calls, record

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


class Ledger:
    """A ledger that lists what is settled."""

    def __init__(self) -> None:
        self.settled: list[tuple[int, str, int]] = []

    has_workers = True

    def has_given_up(self, run: object) -> bool:
        return False

    def settle(self, attempt: Attempt, status: DeliveryStatus, *_: object) -> None:
        """Append it to the list."""
        self.settled.append((attempt.ordinal, str(status), attempt.attempt))


def past_transition() -> tuple[Transition, Ledger]:
    """Make a transition whose hooks are still owed, with a ledger."""
    run = TaskRun(task(name="it")(record), "it", dict, frozenset(), None)
    for state in (Pending(), Running()):
        run.enter(state)
    fact = run.enter(Completed())
    fact.journal = ledger = Ledger()

    return fact, ledger


@pytest.mark.parametrize("kind", ["function", "async function", "lambda that gives a coroutine"])
def test_the_remaining_attempts_are_made(kind: str) -> None:
    """They are counted on from those before, under the same delivery id."""
    fact, ledger = past_transition()
    fact.run.name = "it"
    fails = [True, False]
    attempts: list[int] = []

    def fail_once(*args: Any) -> Any:
        attempts.append(runtime.hook.attempt)
        assert runtime.hook.delivery_id == str(delivery_id(fact.run.number, 2, 4))
        if fails.pop(0):
            raise ValueError
        return KINDS[kind](fact.run.definition, SimpleNamespace(task_name="it"), fact.to_state)

    redeliver(Hook(fail_once), fact, 4, 2, 9)
    assert attempts == [3, 4]
    assert [settled[1:] for settled in ledger.settled] == [
        ("running", 3),
        ("failed", 3),
        ("running", 4),
        ("delivered", 4),
    ]
    assert {settled[0] for settled in ledger.settled} == {4}
    assert calls == [("it", "it", "Completed")]


def test_a_delivery_without_remaining_attempts_is_dead() -> None:
    """Its hook is not called, and the dead letter is published; a last attempt is still made."""
    outcomes: list[str] = []
    bus.subscribe(lambda event: outcomes.append(type(event).__name__), event_type=HookOutcome)
    fact, ledger = past_transition()
    redeliver(Hook(record), fact, 0, 3, 3)
    assert (ledger.settled, calls) == ([(0, "dead", 3)], [])
    assert outcomes == ["HookDeadLettered"]

    def broken(*_: Any) -> None:
        raise ValueError

    redeliver(Hook(broken, retries=9), fact, 0, 2, 3)
    assert ledger.settled[1:] == [(0, "running", 3), (0, "dead", 3)]


def test_an_interrupt_of_a_delivery_is_passed_on() -> None:
    """The delivery stays owed, with one attempt less."""

    def leave(*_: Any) -> None:
        raise KeyboardInterrupt

    fact, ledger = past_transition()
    with pytest.raises(KeyboardInterrupt):
        redeliver(Hook(leave), fact, 1, 0, 3)
    assert ledger.settled == [(1, "running", 1), (1, "failed", 1)]


@pytest.mark.parametrize("kind", ["sync", "async", "async that blocks its loop"])
def test_a_hook_without_a_timeout_has_the_limit_of_a_recovery(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends among the dead with a message that says what to do; the next async hook runs."""
    monkeypatch.setattr(Delivery, "limit_seconds", 0.05)
    monkeypatch.setattr(receiver, "BLOCKED_SECONDS", 0.05)
    go_on, ran = threading.Event(), threading.Event()

    def wait(*_: Any) -> None:
        go_on.wait(60)

    async def await_for_ever(*_: Any) -> None:
        await asyncio.Event().wait()

    async def block(*_: Any) -> None:
        go_on.wait(60)

    async def other(*_: Any) -> None:
        ran.set()

    fact, ledger = past_transition()
    hanging: Any = {"sync": wait, "async": await_for_ever}.get(kind, block)
    with capture_events() as events:
        redeliver(Hook(hanging), fact, 0, 2, 3)
        monkeypatch.setattr(Delivery, "limit_seconds", 30)
        redeliver(Hook(other), fact, 1, 0, 3)
    go_on.set()

    assert ledger.settled[1] == (0, "dead", 3)
    assert ran.is_set()
    (failed,) = [event for event in events if isinstance(event, HookFailed)]
    assert "within the 0.05 s that a recovery allows" in failed.error.message
    assert "EVENTFLOW_RECOVERY_HOOK_SECONDS" in failed.error.message


def test_its_own_timeout_comes_before_that_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it is longer."""
    monkeypatch.setattr(Delivery, "limit_seconds", 0.001)
    fact, ledger = past_transition()
    redeliver(Hook(lambda *_: time.sleep(0.05), timeout_seconds=30), fact, 0, 0, 1)
    assert ledger.settled[-1] == (0, "delivered", 1)
