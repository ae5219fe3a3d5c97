"""What the records of the client say of a delivery that a worker makes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from eventflow.client.records import DeliveryRecord
from eventflow.hooks.ledger import DeliveryStatus


@pytest.mark.parametrize(
    ("where", "status", "note"),
    [
        ("worker", "pending", "waits for a worker"),
        ("worker", "failed", "waits for a worker"),
        ("worker", "running", "a worker runs it"),
        ("worker", "delivered", None),
        ("worker", "dead", None),
        ("owner", "pending", None),
    ],
)
def test_who_it_waits_for(where: Any, status: str, note: str | None) -> None:
    key = UUID(int=1)
    record = DeliveryRecord(
        id=key,
        hook="reports:press",
        ordinal=0,
        status=DeliveryStatus(status),
        attempts=0,
        due=None,
        error=None,
        updated=datetime.now(UTC),
        importable=True,
        event_id=key,
        run_id=key,
        run_type=None,
        run_name=None,
        definition_name=None,
        state_name=None,
        occurred=None,
        where=where,
    )

    assert record.note == note
