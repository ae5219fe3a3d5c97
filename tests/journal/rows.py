"""Rows for tests of the journal: whatever a test does not say is made up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import Batch, Fence
from eventflow.journal.rows import DeliveryRow, EventRow, OwnerRow, RunRow, Settlement
from eventflow.states import StateType

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def a_run(**given: Any) -> RunRow:
    """Make a run that has just begun."""
    made = RunRow(
        id=uuid7(),
        run_type="task",
        name="brave-otter",
        definition="extract",
        reference="etl:extract",
        version=None,
        tags=("prod",),
        parameters='{"url": "x"}',
        parent_run_id=None,
        flow_run_id=None,
        root_flow_run_id=None,
        owner="owner",
        created=NOW,
        started=None,
        ended=None,
        seconds=0.0,
        run_count=0,
        sequence=0,
        state_id=uuid7(),
        state_type=StateType.PENDING,
        state_name="Pending",
        state_at=NOW,
        message=None,
    )

    return made._replace(**given)


def an_event(run: RunRow, **given: Any) -> EventRow:
    """Make the event of the state that a run is in."""
    made = EventRow(
        id=run.state_id,
        run_id=run.id,
        sequence=run.sequence,
        state_type=run.state_type,
        state_name=run.state_name,
        occurred=run.state_at,
        run_count=run.run_count,
        message=run.message,
        error=None,
        follows=None,
    )

    return made._replace(**given)


def later(run: RunRow, kind: StateType, *, ends: bool = False) -> RunRow:
    """Give the run as it stands in its next state."""
    at = run.state_at + timedelta(seconds=1)

    return run._replace(
        sequence=run.sequence + 1,
        state_id=uuid7(),
        state_type=kind,
        state_name=kind.title(),
        state_at=at,
        ended=at if ends else None,
    )


def a_delivery(run: RunRow, **given: Any) -> DeliveryRow:
    """Make a delivery of the present state of a run."""
    made = DeliveryRow(uuid7(), run.state_id, run.id, 0, "alerts:page", importable=True)

    return made._replace(**given)


def settled(
    delivery: DeliveryRow, status: DeliveryStatus, attempts: int = 1, **given: Any
) -> Settlement:
    """Say what came of an attempt."""
    return Settlement(delivery.run_id, delivery.id, status, attempts, NOW)._replace(**given)


def an_owner(id: str = "owner", **given: Any) -> OwnerRow:
    """Make an owner."""
    made = OwnerRow(
        id=id,
        host="host-1",
        boot="boot-1",
        pid=4711,
        started=NOW,
        main_file="/srv/etl.py",
        main_module=None,
        argv=("etl.py", "--day", "1"),
        cwd="/srv",
        sys_path=("/srv", "/usr/lib/python3"),
    )

    return made._replace(**given)


def entering(run: RunRow, *deliveries: DeliveryRow, fence: Fence | None = None) -> Batch:
    """Make the batch of one transition."""
    return Batch(fence, {run.id: run}, [an_event(run)], list(deliveries), [])


def ids(rows: list[Any]) -> list[UUID]:
    """Give the ids of rows."""
    return [row.id for row in rows]
