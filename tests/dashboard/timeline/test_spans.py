"""A span tells of a run when it waited, ran and ended, whatever its clock did."""

from __future__ import annotations

import json

from eventflow.dashboard.timeline.spans import is_failure
from eventflow.states import StateType
from tests.dashboard.stored import a_run, after, spans

T = StateType


def test_each_state_but_the_last_is_a_step_of_a_run_that_has_ended() -> None:
    (span,) = spans(a_run("P0R1000000C3000000", number=0xABC))

    assert [(step.kind, step.begin, step.end, step.then) for step in span.steps] == [
        (T.PENDING, after(0), after(1), T.RUNNING),
        (T.RUNNING, after(1), after(3), T.COMPLETED),
    ]
    assert (span.begin, span.end, span.seconds, span.is_ended) == (after(0), after(3), 3, True)
    assert (span.label, span.attempts, span.cause) == ("extract-abc", 1, None)
    assert not is_failure(span)


def test_the_last_state_of_a_run_that_has_not_ended_lasts_until_now() -> None:
    (span,) = spans(a_run("P0R1000000"), now=9)

    assert [(step.kind, step.end, step.then) for step in span.steps][-1] == (
        *(T.RUNNING, after(9)),
        None,
    )
    assert (span.end, span.is_ended) == (after(9), False)


def test_attempts_are_counted_with_the_waits_between_them() -> None:
    retrying = "\n".join(
        json.dumps(each)
        for each in (["SAwaitingRetry", 2_000_000], ["RRetrying", 5_000_000], ["F", 6_000_000])
    )
    (span,) = spans(a_run(f"P0R1000000\n{retrying}", state="F", ended=6))

    assert [(step.state, step.attempt, step.is_running) for step in span.steps] == [
        ("Pending", 0, False),
        ("Running", 1, True),
        ("AwaitingRetry", 1, False),
        ("Retrying", 2, True),
    ]
    assert span.attempts == 2
    assert is_failure(span)


def test_a_clock_that_was_set_back_makes_no_step_end_before_it_begins() -> None:
    (span,) = spans(a_run("P0R5000000C2000000"))

    assert [(step.begin, step.end) for step in span.steps] == [
        (after(0), after(5)),
        (after(5), after(5)),
    ]
    assert span.end == after(5)


def test_a_run_of_the_future_ends_where_it_begins() -> None:
    """Its clock is ahead of that of the reader."""
    (span,) = spans(a_run("P0", created=10), now=1)

    assert (span.begin, span.end) == (after(10), after(10))


def test_the_cause_is_the_error_or_the_message_of_the_present_state() -> None:
    error = json.dumps({"type": "ValueError", "message": "no"})
    failed = json.dumps(["F", 1, None, None, error])
    crashed = json.dumps(["X", 1, None, "vanished"])
    completed = json.dumps(["C", 1, None, "all well"])

    found = [
        spans(a_run(f"P0\n{text}", state=text[2], ended=1))[0].cause
        for text in (failed, crashed, completed)
    ]

    assert found == ["ValueError: no", "vanished", None]


def test_a_run_of_which_nothing_can_be_read_has_no_steps() -> None:
    (span,) = spans(a_run("?", state="R"), now=2)

    assert (span.steps, span.attempts, span.end) == ((), 0, after(2))
