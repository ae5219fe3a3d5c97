"""The tally counts the runs below one flow run by state, and keeps the latest failures."""

from __future__ import annotations

import pytest

from eventflow import bus, flow, task
from eventflow.cli.display.tally import FAILURES_KEPT, Tally

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


def test_tasks_and_subflows_are_counted_by_state() -> None:
    """The flow run itself is not counted."""
    tally = Tally()

    @task
    def step(number: int) -> None:
        if number == 0:
            raise ValueError("zero")

    @flow
    def inner() -> None: ...

    @flow
    def outer() -> None:
        for number in range(3):
            step(number, return_state=True)
        inner()

    with bus.subscribe(tally):
        outer()
    totals = tally.totals()
    assert totals.tasks == {"Completed": 2, "Failed": 1}
    assert totals.flows == {"Completed": 1}
    assert (totals.ended, totals.failed) == (3, 1)
    assert [failure.cause for failure in totals.failures] == ["ValueError: zero"]


def test_a_run_that_succeeds_after_a_retry_is_no_failure() -> None:
    """While it is retried it is one."""
    tally = Tally()
    during: list[list[bool]] = []

    @task(retries=1)
    def step(attempts: list[int]) -> None:
        during.append([failure.retrying for failure in tally.totals().failures])
        attempts.append(1)
        if len(attempts) == 1:
            raise ValueError("once")

    @flow
    def outer() -> None:
        step([])

    with bus.subscribe(tally):
        outer()
    assert during == [[], [True]]
    assert tally.totals().failures == ()
    assert tally.totals().failed == 0


def test_only_the_latest_failures_are_kept() -> None:
    """All of them are counted."""
    tally = Tally()

    @task
    def step(number: int) -> None:
        raise ValueError(number)

    @flow
    def outer() -> None:
        for number in range(FAILURES_KEPT + 3):
            step(number, return_state=True)

    with bus.subscribe(tally):
        outer()
    assert [failure.cause for failure in tally.totals().failures] == [
        f"ValueError: {number}" for number in range(3, FAILURES_KEPT + 3)
    ]
    assert tally.totals().failed == FAILURES_KEPT + 3
