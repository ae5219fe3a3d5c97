"""Rows for tests of the journal, with values made up, and the lines that write them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.format import JournalLine
from eventflow.journal.rows import DeliveryRow, EventRow, OwnerRow, RunRow, Settlement, micros
from eventflow.states import StateType

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ENDED: dict[str, Any] = {"ended": NOW, "state_type": StateType.COMPLETED, "state_name": "Completed"}


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
    """Make the row of the run in its next state."""
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
    """Make the outcome of an attempt."""
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


def line_of(
    *,
    runs: Iterable[RunRow] = (),
    events: Iterable[EventRow] = (),
    deliveries: Iterable[DeliveryRow] = (),
    settlements: Iterable[Settlement] = (),
) -> JournalLine:
    """Make the line of some rows, as the encoder makes it of the transitions of runs."""
    tables: dict[str, Iterable[Sequence[Any]]] = {
        "runs": runs,
        "events": events,
        "deliveries": deliveries,
        "settlements": settlements,
    }
    values = {table: [[*map(_plain, row)] for row in rows] for table, rows in tables.items()}

    return JournalLine.of({table: rows for table, rows in values.items() if rows})


def entering(run: RunRow, *deliveries: DeliveryRow) -> JournalLine:
    """Make the line of one transition, with what it owes to hooks."""
    return line_of(runs=[run], events=[an_event(run)], deliveries=deliveries)


def settling(*settlements: Settlement) -> JournalLine:
    """Make the line of the outcomes of attempts."""
    return line_of(settlements=settlements)


def _plain(value: Any) -> Any:
    """Convert a value of a row to what the line holds of it."""
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, datetime):
        return micros(value)
    if isinstance(value, tuple):
        return json.dumps(value)
    if isinstance(value, Enum):
        return str(value)

    return int(value) if isinstance(value, bool) else value


def ids(rows: list[Any]) -> list[UUID]:
    """Return the ids of rows."""
    return [row.id for row in rows]
