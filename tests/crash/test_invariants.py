"""Every violation of an invariant is reported: a check that reports nothing proves nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from eventflow.states import StateType
from tests.crash.invariants import FinalState, violations
from tests.crash.kills import ForkServer, request_for


@pytest.fixture(scope="module")
def final(tmp_path_factory: pytest.TempPathFactory) -> FinalState:
    """Return the final state of a process that ended well."""
    home = tmp_path_factory.mktemp("home")
    request = request_for(home, "process", guardian=False)
    request.workload = "retries of a hook"
    with closing(ForkServer()) as server:
        (end,) = server.run(request)
    assert end.status == 0

    return FinalState.read(home)


def first(rows: dict[str, Any]) -> str:
    return next(iter(rows))


def without(rows: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: row for name, row in rows.items() if name != key}


def changed(rows: dict[str, Any], key: str, **facts: object) -> dict[str, Any]:
    return {**rows, key: rows[key]._replace(**facts)}


def test_a_process_that_ends_well_violates_nothing(final: FinalState) -> None:
    assert violations(final) == []


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: f._replace(calls=f.calls[1:]), "but was never called"),
        (lambda f: f._replace(calls=[*f.calls, f.calls[-1]]), "after (2, "),
        (lambda f: f._replace(calls=f.calls[::-1]), "after (2, "),
        (
            lambda f: f._replace(calls=[*f.calls, f.calls[-1]._replace(event="x")]),
            "for a transition of",
        ),
        (
            lambda f: f._replace(deliveries=without(f.deliveries, first(f.deliveries))),
            "is not owed",
        ),
        (
            lambda f: f._replace(
                deliveries=changed(f.deliveries, first(f.deliveries), status="running")
            ),
            "is running after 1 attempts",
        ),
        (lambda f: f._replace(events=without(f.events, first(f.events))), "entered"),
        (
            lambda f: f._replace(
                runs=changed(f.runs, first(f.runs), ended=None, state_type=StateType.RUNNING)
            ),
            "has no end",
        ),
        (
            lambda f: f._replace(runs=changed(f.runs, first(f.runs), state_id="x")),
            "which has another",
        ),
        (lambda f: f._replace(records=[["body", "x", 1, 0]]), "which is not in the journal"),
        (lambda f: f._replace(paid=Counter()), "was paid 0 times"),
        (lambda f: f._replace(paid=f.paid + f.paid), "was paid 2 times"),
        (lambda f: f._replace(owners=["x"]), "counts as alive"),
        (lambda f: f._replace(findings=["a gap"]), "a gap"),
        (lambda f: f._replace(log=["Traceback"]), "Traceback"),
    ],
)
def test_each_violation_is_reported(
    final: FinalState, spoil: Callable[[FinalState], FinalState], words: str
) -> None:
    """By a message with these words."""
    assert any(words in violation for violation in violations(spoil(final)))
