"""Which hooks of a dead or stuck owner's run are owed a state because it lasts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from eventflow import Hook
from eventflow.hooks.ledger import LASTED
from eventflow.journal.rows import DeliveryRow, EventRow, RunRow
from eventflow.primitives.ids import delivery_id, new_id
from eventflow.recovery.lasting import due_deliveries, next_due, timed
from eventflow.states import StateType

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)
RUN = new_id()


def page(definition: Any, run: Any, state: Any) -> None: ...


SLOW = Hook(page, state="Running", lasting=60)
RETRYING = Hook(page, state="Retrying", lasting=30)
OVERDUE = Hook(page, overdue_seconds=90)
HOOKS = [Hook(page, state="Running"), SLOW, RETRYING, OVERDUE]


def event(sequence: int, kind: StateType, name: str, after: float) -> EventRow:
    return EventRow(
        *(new_id(), RUN, sequence, kind, name, BEGAN + timedelta(seconds=after)),
        *(1, None, None, None),
    )


EVENTS = [
    event(0, StateType.PENDING, "Pending", 0),
    event(1, StateType.RUNNING, "Running", 1),
    event(2, StateType.SCHEDULED, "AwaitingRetry", 50),
    event(3, StateType.RUNNING, "Retrying", 60),
]


def row(events: list[EventRow], ended: datetime | None = None) -> RunRow:
    last = events[-1]
    started = next((each.occurred for each in events if each.state_name == "Running"), None)
    values: dict[str, Any] = {
        **dict.fromkeys(RunRow._fields),
        "id": RUN,
        "run_type": "task",
        "definition": "work",
        "tags": ("prod",),
        "created": BEGAN,
        "started": started,
        "ended": ended,
        "sequence": last.sequence,
        "state_id": last.id,
        "state_type": last.state_type,
        "state_name": last.state_name,
        "state_at": last.occurred,
    }

    return RunRow(**values)


def due(count: int, until: float, known: list[DeliveryRow] | None = None) -> list[tuple[int, int]]:
    events = EVENTS[:count]
    moment = BEGAN + timedelta(seconds=until)
    found = due_deliveries(row(events), HOOKS, events, known or [], moment)

    return [(each.sequence, each.ordinal - LASTED) for each in found]


@pytest.mark.parametrize(
    ("count", "until", "expected"),
    [
        (1, 1000, []),
        (2, 60, []),
        (2, 61, [(1, 0)]),
        (2, 91, [(1, 0), (1, 2)]),
        (3, 90, []),
        (3, 91, [(1, 2)]),
        (4, 89, []),
        (4, 90, [(3, 1)]),
        (4, 91, [(3, 1), (1, 2)]),
    ],
)
def test_what_was_due(count: int, until: float, expected: list[tuple[int, int]]) -> None:
    """Of the present state, and of the time since the first Running."""
    assert due(count, until) == expected


def test_what_somebody_has_begun_is_left_to_its_row() -> None:
    """Whatever its status is."""
    (one, *_) = due_deliveries(row(EVENTS), HOOKS, EVENTS, [], BEGAN + timedelta(days=1))

    assert one.id == delivery_id(RUN.int, one.sequence, one.ordinal)
    assert due(4, 1000, [one]) == [(1, 2)]


def test_a_run_that_has_ended_owes_nothing_more() -> None:
    """It has left the state in time, or its owner has delivered."""
    ended = row(EVENTS, ended=BEGAN)

    assert not [*due_deliveries(ended, HOOKS, EVENTS, [], BEGAN + timedelta(days=1))]


def test_hooks_that_select_others() -> None:
    """By name, tags and run type, as when the run entered the state."""
    hooks = [
        Hook(page, state="Running", lasting=1, name="x*"),
        Hook(page, state="Running", lasting=1, tags="dev"),
        Hook(page, state="Running", lasting=1, run_type="flow"),
        Hook(page, state="Running", lasting=1, tags="prod"),
    ]
    events = EVENTS[:2]
    found = due_deliveries(row(events), hooks, events, [], BEGAN + timedelta(days=1))

    assert [each.ordinal - LASTED for each in found] == [3]


def test_when_something_is_due_next() -> None:
    """The first of all, or the first after a moment."""
    running = row(EVENTS[:2])

    assert timed(HOOKS) == [SLOW, RETRYING, OVERDUE]
    assert next_due(running, HOOKS) == BEGAN + timedelta(seconds=61)
    assert next_due(running, HOOKS, BEGAN + timedelta(seconds=70)) == BEGAN + timedelta(seconds=91)
    assert next_due(running, HOOKS, BEGAN + timedelta(seconds=91)) is None
    assert next_due(row(EVENTS[:1]), [OVERDUE]) is None
