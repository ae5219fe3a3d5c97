"""Redelivery: the remaining attempts of a delivery that is still owed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from eventflow import Hook, bus, runtime, task
from eventflow.events import HookOutcome
from eventflow.hooks.receiver import redeliver
from eventflow.primitives.ids import delivery_id
from eventflow.runs.run import TaskRun, Transition
from eventflow.states import Completed, Pending, Running
from tests.hooks.callables import KINDS, calls, record

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


class Ledger:
    """A ledger that lists what is settled."""

    def __init__(self) -> None:
        self.settled: list[tuple[int, str, int]] = []

    def settle(self, key: Any, status: Any, attempts: int, *_: Any, at_once: bool = True) -> None:
        """Append it to the list."""
        self.settled.append((key[2], str(status), attempts))


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
        assert runtime.hook.delivery_id == str(delivery_id(fact.to_state.id, 4))
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
