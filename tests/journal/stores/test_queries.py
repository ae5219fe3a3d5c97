"""What is asked often is found by an index, however many runs there are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from eventflow.hooks.ledger import OWED, DeliveryStatus
from eventflow.journal.contract import DeliveryQuery, RunQuery
from eventflow.journal.stores.sqlite import SqliteJournal
from eventflow.journal.stores.sqlite_session import SqliteSession
from eventflow.states import StateType
from tests.journal.rows import an_owner


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the plans of all queries of runs."""
    found: list[str] = []
    plain = SqliteSession.all

    def explained(self: SqliteSession, text: str, values: Sequence[Any] = ()) -> Any:
        if "FROM @runs" in text:
            steps = plain(self, f"EXPLAIN QUERY PLAN {text}", values)
            found.extend(str(step[3]) for step in steps)
        return plain(self, text, values)

    monkeypatch.setattr(SqliteSession, "all", explained)

    return found


def find_by_index(plans: list[str], *indexes: str) -> bool:
    """Return whether these indexes are used, and no table of runs is read as a whole."""
    used = all(any(index in plan for plan in plans) for index in indexes)

    return used and not any(re.match(r"SCAN (r|runs)\b(?!.*INDEX)", plan) for plan in plans)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (RunQuery(top=True), "runs_top"),
        (RunQuery(top=True, since=datetime.now(UTC)), "runs_top"),
        (RunQuery(top=True, definition="etl"), "runs_top_of_definition"),
        (RunQuery(keeper=""), "runs_free"),
        (RunQuery(unfinished=True, keeper="someone"), "runs_unfinished"),
        (RunQuery(state_types=[StateType.FAILED]), "runs_not_completed"),
        (RunQuery(parent_run_id=uuid4()), "runs_of_parent"),
        (RunQuery(flow_run_id=uuid4()), "runs_of_parent"),
    ],
)
def test_few_runs_among_many_are_found_by_an_index(
    journal: SqliteJournal, plans: list[str], query: RunQuery, index: str
) -> None:
    """A journal of millions of runs is not read as a whole."""
    assert journal.runs(query) == []
    assert find_by_index(plans, index)


def test_what_is_left_to_do_is_found_by_indexes(journal: SqliteJournal, plans: list[str]) -> None:
    """By who claims it, and by who lists it."""
    fence = journal.register(an_owner())
    assert journal.claim(fence) == []
    assert find_by_index(plans, "runs_unfinished", "runs_owing", "deliveries_left")

    for statuses in ([DeliveryStatus.DEAD], OWED):
        plans.clear()
        assert journal.deliveries(DeliveryQuery(statuses=statuses)) == []
        assert find_by_index(plans, "deliveries_left")
    assert find_by_index(plans, "runs_owing")
