"""The timer of deadlines, with deadlines that are not of runs: none is lost, and none kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventflow.eventbus.deadlines import UNSORTED, Timer

BEGIN = 1000.0


class Clock:
    """A clock that stands still until it is moved."""

    now = BEGIN

    def __call__(self) -> float:
        return self.now


class Noted:
    """A deadline that notes in a list that it was told of."""

    def __init__(self, number: int, due: float, told: list[int]) -> None:
        self.number, self.due, self.told = number, due, told
        self.fact: object = self

    def expire(self, now: float) -> None:
        """Note it, if the state was not left."""
        assert now >= self.due
        if self.fact is not None:
            self.told.append(self.number)
        self.fact = None


def make(seconds: float, told: list[int] | None = None, number: int = 0) -> Any:
    """Make a deadline so many seconds after the beginning."""
    return Noted(number, BEGIN + seconds, [] if told is None else told)


def leave(timer: Timer, deadline: Any) -> None:
    """Do what a run does that leaves its state in time."""
    deadline.fact = None
    timer.drop(deadline)


def add(timer: Timer, seconds: float) -> Any:
    """Add a deadline of which nobody is told; return it."""
    deadline = make(seconds)
    timer.add(deadline)

    return deadline


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list of the seconds after which the timer's thread was asked to look."""
    asked: list[float] = []

    def call_later(seconds: float, _: object) -> Callable[[], None]:
        asked.append(seconds)
        return lambda: None

    monkeypatch.setattr("eventflow.eventbus.deadlines.timer_portal.call_later", call_later)

    return asked


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=1, max_size=20))
def test_any_mixture_of_times(spans: list[tuple[float, float]]) -> None:
    """Each that lasts is told of exactly once, when it is due; each that is left, never."""
    clock = Clock()
    timer = Timer(clock)
    told: list[int] = []
    made = [make(lasting, told, number) for number, (lasting, _) in enumerate(spans)]
    for deadline in made:
        timer.add(deadline)
    for left, number in sorted((left, number) for number, (_, left) in enumerate(spans)):
        clock.now = BEGIN + left
        timer.run()
        leave(timer, made[number])
    clock.now += 1000
    timer.run()

    assert sorted(told) == [
        number for number, (lasting, left) in enumerate(spans) if BEGIN + lasting <= BEGIN + left
    ]
    assert timer.waiting == 0


def test_states_that_follow_each_other_leave_nothing(planned: list[float]) -> None:
    """However many there are: the timer's thread looks no earlier than for the first one."""
    timer = Timer(Clock())
    for _ in range(3 * UNSORTED):
        outer, inner = add(timer, 60.0), add(timer, 30.0)
        leave(timer, inner)
        leave(timer, outer)

    assert timer.waiting == 0
    assert planned == [60.0, 30.0]


def test_states_that_are_left_in_another_order_are_not_kept(planned: list[float]) -> None:
    """Though their time is over much later: the thread is asked to look once they are many."""
    timer = Timer(Clock())
    kept = add(timer, 60.0)
    for _ in range(3):
        before, *between = [add(timer, 60.0) for _ in range(UNSORTED)]
        add(timer, 60.0)
        for each in (before, *between):
            leave(timer, each)
        assert planned[-1] == 0.0
        timer.run()

    assert timer.waiting <= 4
    assert planned.count(0.0) == 3
    assert kept.fact is not None


def test_one_that_another_thread_adds_just_now_is_kept() -> None:
    """It takes the place of the last one, between the look at that and its removal."""
    timer = Timer(Clock())
    other, ours = make(5.0), make(5.0)

    class Interleaved(list[Any]):
        def pop(self, *_: Any) -> Any:
            self.append(other)
            return super().pop()

    timer.add(ours)
    timer._new = Interleaved([ours])  # type: ignore[assignment]
    leave(timer, ours)

    assert [*timer._new] == [ours, other]


def test_a_timer_without_deadlines() -> None:
    """One that it has told of, or sorted already, is dropped as well."""
    timer = Timer(Clock())
    deadline = add(timer, 5.0)
    timer.run()
    leave(timer, deadline)
    timer.run()

    assert timer.waiting == 1
    timer.clock.now += 5.0  # type: ignore[attr-defined]
    timer.run()
    assert timer.waiting == 0
