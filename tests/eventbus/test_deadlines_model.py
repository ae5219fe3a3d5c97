"""Deadlines against a model: whatever runs do, and however late the timer is."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from eventflow import EventBus, StateType, task
from eventflow.eventbus import deadlines
from eventflow.eventbus.subscriptions import Subscription
from eventflow.events import StateLasted
from eventflow.runs.run import TaskRun
from eventflow.states import State
from tests.eventbus.clocks import Clock, Heard, a_task, timer_on

TIMES = st.integers(1_000, 5_000)
ONWARD: dict[str, list[tuple[StateType, str]]] = {
    "Pending": [(StateType.RUNNING, "Running"), (StateType.CANCELLING, "Cancelling")],
    "Running": [
        (StateType.SCHEDULED, "AwaitingRetry"),
        (StateType.CANCELLING, "Cancelling"),
        (StateType.COMPLETED, "Completed"),
        (StateType.CRASHED, "Crashed"),
    ],
    "AwaitingRetry": [(StateType.RUNNING, "Running"), (StateType.CANCELLING, "Cancelling")],
    "Cancelling": [(StateType.CANCELLED, "Cancelled"), (StateType.CRASHED, "Crashed")],
}


@dataclass
class Modelled:
    """A run, its state, and who is still to be told of that: with the time when it is due."""

    run: TaskRun
    state: str = ""
    overdue: float | None = None
    waiting: list[tuple[int, float, int]] = field(default_factory=list)


class DeadlineMachine(RuleBasedStateMachine):
    """Runs enter and leave states, subscriptions come and go, and the clock goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.cleanup = ExitStack()
        self.cleanup.enter_context(timer_on(self.clock))
        self.bus = EventBus()
        self.limit = 3_000
        self.definition = task(name="it", on_overdue=[self.overdue], overdue_seconds=self.limit)(
            lambda: None
        )
        self.runs: list[Modelled] = []
        self.subscriptions: list[tuple[Subscription, str | None, int]] = []
        self.told: Counter[Any] = Counter()
        self.expected: Counter[Any] = Counter()

    def teardown(self) -> None:
        self.cleanup.close()

    def overdue(self, definition: Any, run: Any, state: State[Any]) -> None:
        """Note that a run is overdue."""
        self.told["overdue", run.id] += 1

    @rule(state=st.sampled_from([None, *ONWARD]), lasting=TIMES)
    def subscribe(self, state: str | None, lasting: int) -> None:
        place = len(self.subscriptions)

        def listen(event: StateLasted) -> None:
            assert event.lasting == lasting
            self.told[place, event.run_id, event.sequence] += 1

        made = self.bus.subscribe(listen, state=state, lasting=lasting)
        self.subscriptions.append((made, state, lasting))

    @precondition(lambda self: self.subscriptions)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.subscriptions))[0].cancel()

    @rule()
    def begin(self) -> None:
        modelled = Modelled(TaskRun(self.definition, "it", dict, frozenset(), None))
        modelled.run.bus = self.bus
        self.runs.append(modelled)
        self._enter(modelled, StateType.PENDING, "Pending")

    @precondition(lambda self: any(each.state in ONWARD for each in self.runs))
    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        modelled = data.draw(st.sampled_from([each for each in self.runs if each.state in ONWARD]))
        self._enter(modelled, *data.draw(st.sampled_from(ONWARD[modelled.state])))

    def _enter(self, modelled: Modelled, kind: StateType, name: str) -> None:
        run, now = modelled.run, self.clock.now
        self._due(modelled)
        sequence = run.transitions
        self.bus.publish_transition(run.enter(State(type=kind, name=name)))
        modelled.state = name
        modelled.waiting = [
            (place, now + lasting, sequence)
            for place, (made, state, lasting) in enumerate(self.subscriptions)
            if made.active and name in ONWARD and state in {None, name}
        ]
        if name not in ONWARD:
            modelled.overdue = None
        elif name == "Running" and run.run_count == 1:
            modelled.overdue = now + self.limit

    def _due(self, modelled: Modelled) -> None:
        """Expect what is due now, once."""
        now = self.clock.now
        for place, due, sequence in modelled.waiting:
            if due <= now and self.subscriptions[place][0].active:
                self.expected[place, modelled.run.id, sequence] += 1
        modelled.waiting = [each for each in modelled.waiting if each[1] > now]
        if modelled.overdue is not None and modelled.overdue <= now:
            self.expected["overdue", modelled.run.id] += 1
            modelled.overdue = None

    @rule(seconds=st.integers(0, 3_000), late=st.booleans())
    def go_by(self, seconds: int, late: bool) -> None:
        self.clock.now += seconds
        if not late:
            deadlines.timer.run()
            for modelled in self.runs:
                self._due(modelled)

    @invariant()
    def each_was_told_once(self) -> None:
        deadlines.workers.finish()
        assert self.told == self.expected
        assert all(count == 1 for count in self.told.values())


TestDeadlines = DeadlineMachine.TestCase
TestDeadlines.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.usefixtures("eventflow_isolated")
def test_a_timer_and_a_run_that_race(clock: Clock, heard: Heard) -> None:
    """At the moment it is due: whoever is first tells of it, a thousand times."""
    barrier = threading.Barrier(2)

    def tick() -> None:
        for _ in range(1_000):
            barrier.wait(30)
            deadlines.timer.run()

    def body() -> None:
        clock.now += 5_000
        barrier.wait(30)

    definition = a_task(body, on_overdue=[heard.hook], overdue_seconds=5_000)
    thread = threading.Thread(target=tick)
    thread.start()
    for _ in range(1_000):
        definition()
    thread.join()
    deadlines.workers.finish()

    assert len(heard.all) == 1_000
