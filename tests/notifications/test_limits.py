"""What is held back is counted once, and told when its time is over, by whichever process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies

from eventflow.errors import StoreError
from eventflow.notifications.limits import Held, Limit, Limits
from eventflow.testing import isolated


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> Limits:
    return Limits("a", clock)


GROUP = Limit("like", 300, 1)
RATE = Limit("", 60, 2)


def test_what_is_alike_is_sent_once_in_a_time(limits: Limits, clock: Clock) -> None:
    """The time begins with what was sent; how many there were is told when it is over."""
    assert limits.admit("1", [GROUP], "first", "") is None
    clock.now += 100
    assert limits.admit("2", [GROUP], "second", "text") == 200
    clock.now += 199
    assert limits.admit("3", [GROUP], "third", "of the third") == 1
    assert limits.take_due() == []
    clock.now += 1
    assert limits.take_due() == [Held("like", 2, 300, "third", "of the third")]
    assert limits.admit("4", [GROUP], "fourth", "") is None


def test_a_number_is_sent_in_a_minute(limits: Limits, clock: Clock) -> None:
    assert [limits.admit(str(n), [RATE], "t", "") for n in range(3)] == [None, None, 60]
    clock.now += 60
    assert [held.number for held in limits.take_due()] == [1]
    assert limits.admit("3", [RATE], "t", "") is None


def test_what_a_group_holds_back_does_not_count_as_sent(limits: Limits) -> None:
    other = Limit("unlike", 300, 1)
    sent = [limits.admit(str(n), [GROUP, RATE], "t", "") for n in range(9)]
    assert sent == [None, *[300] * 8]
    assert limits.admit("9", [other, RATE], "t", "") is None
    assert limits.admit("10", [Limit("third", 300, 1), RATE], "t", "") == 60


def test_a_delivery_that_is_tried_again_is_sent_again(limits: Limits) -> None:
    """Nobody knows whether it was sent before; and one that was held back counts once."""
    assert limits.admit("1", [GROUP], "t", "") is None
    assert limits.admit("1", [GROUP], "t", "") is None
    assert limits.admit("2", [GROUP], "t", "") == 300
    assert limits.admit("2", [GROUP], "t", "") == 300
    assert limits.admit("1", [GROUP], "t", "") is None


def test_what_was_not_told_is_told_again(limits: Limits, clock: Clock) -> None:
    """Where the process that was to tell it has died; by one process at a time."""
    limits.admit("1", [GROUP], "t", "")
    limits.admit("2", [GROUP], "t", "")
    clock.now += 300
    (held,) = limits.take_due()
    assert Limits("a", clock).take_due() == []
    clock.now += 60
    assert limits.take_due() == [held]
    limits.told(held)
    clock.now += 60
    assert limits.take_due() == []


def test_notifiers_have_limits_of_their_own(limits: Limits, clock: Clock) -> None:
    assert limits.admit("1", [GROUP], "t", "") is None
    assert Limits("b", clock).admit("2", [GROUP], "t", "") is None
    assert Limits("a", clock).admit("3", [GROUP], "t", "") == 300


def test_two_processes_may_ask_at_once(folder: Path) -> None:
    """Whoever comes first, the other one is held back."""
    one, two = Clock(), Clock()
    two.now -= 0.01
    assert Limits("a", one).admit("1", [GROUP], "t", "") is None
    assert Limits("a", two).admit("2", [GROUP], "t", "") == pytest.approx(300.01)


def test_a_clock_that_is_set_back_holds_nothing_back(limits: Limits, clock: Clock) -> None:
    limits.admit("1", [GROUP], "t", "")
    clock.now -= 86_400
    assert limits.admit("2", [GROUP], "t", "") is None


def test_the_file_is_private(limits: Limits, folder: Path) -> None:
    limits.admit("1", [GROUP], "t", "")
    assert (folder / "notifications.db").stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_used_is_an_error(limits: Limits, folder: Path) -> None:
    folder.mkdir()
    (folder / "notifications.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="may be deleted"):
        limits.admit("1", [GROUP], "t", "")


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=strategies.lists(
        strategies.tuples(strategies.sampled_from("ab"), strategies.integers(0, 90)), max_size=25
    )
)
def test_each_is_sent_or_told_of(steps: list[tuple[str, int]]) -> None:
    """Whatever comes when: none is lost, none told twice, and the limits are kept."""
    clock = Clock()
    with isolated():
        limits = Limits("a", clock)
        sent: list[tuple[float, str]] = []
        told = 0
        for number, (key, seconds) in enumerate(steps):
            clock.now += seconds
            for held in limits.take_due():
                limits.told(held)
                told += held.number
            if limits.admit(str(number), [Limit(key, 100, 1), Limit("", 60, 2)], "t", "") is None:
                sent.append((clock.now, key))
        clock.now += 100
        for held in limits.take_due():
            limits.told(held)
            told += held.number
    assert len(sent) + told == len(steps)
    for at, key in sent:
        assert sum(at <= other < at + 60 for other, _ in sent) <= 2 + sum(
            other == at + 60 for other, _ in sent
        )
        assert sum(key == like and at <= other < at + 100 for other, like in sent) == 1


def test_it_can_be_used_in_a_child(limits: Limits) -> None:
    """Each use opens the file anew."""
    limits.admit("1", [GROUP], "t", "")
    pid = os.fork()
    if not pid:
        os._exit(0 if limits.admit("2", [GROUP], "t", "") is not None else 1)
    assert os.waitpid(pid, 0)[1] == 0
