"""A journal with runs in every state, written through the Journal API."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from uuid_utils.compat import uuid7

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import Journal
from eventflow.journal.rows import DeliveryRow, EventRow, RunRow
from eventflow.primitives.ids import delivery_id
from eventflow.primitives.records import ErrorInfo
from eventflow.states import TERMINAL, StateType
from tests.journal.rows import a_run, an_owner, line_of

P, R, S = StateType.PENDING, StateType.RUNNING, StateType.SCHEDULED
C, F, X = StateType.COMPLETED, StateType.FAILED, StateType.CRASHED

OWNER = "owner-1"
COMPLETED = ((P, "Pending"), (R, "Running"), (C, "Completed"))
RETRIED = ((P, "Pending"), (R, "Running"), (S, "AwaitingRetry"), (R, "Retrying"), (F, "Failed"))
RUNNING = ((P, "Pending"), (R, "Running"))
CRASHED = ((P, "Pending"), (R, "Running"), (X, "Crashed"))
ERROR = ErrorInfo(type="ValueError", message="no such table", traceback="Traceback\nValueError: no")


class Owed(NamedTuple):
    """A hook owed the state of that name."""

    state: str
    hook: str
    status: DeliveryStatus = DeliveryStatus.DELIVERED
    attempts: int = 1
    error: str | None = None
    importable: bool = True


def record_run(
    journal: Journal,
    states: Iterable[tuple[StateType, str]],
    *owed: Owed,
    ago: timedelta = timedelta(minutes=5),
    **given: Any,
) -> UUID:
    """Enter these states, one a second, and commit each of them as an owner does."""
    moment = datetime.now(UTC) - ago
    run = a_run(created=moment, owner=OWNER, **given)
    if run.run_type == "flow":
        run = run._replace(flow_run_id=run.id, root_flow_run_id=run.root_flow_run_id or run.id)
    follows: UUID | None = None
    for sequence, (kind, name) in enumerate(states):
        run = _entered(run, sequence, kind, name, moment + timedelta(seconds=sequence))
        failed = name in {"AwaitingRetry", "Failed"}
        event = EventRow(
            *(run.state_id, run.id, sequence, kind, name, run.state_at, run.run_count),
            *(None, ERROR.model_dump_json() if failed else None, follows),
        )
        due = [delivery for delivery in owed if delivery.state == name]
        deliveries = [_row(run, ordinal, delivery) for ordinal, delivery in enumerate(due)]
        journal.commit_lines([line_of(runs=[run], events=[event], deliveries=deliveries)])
        follows = run.state_id

    return run.id


def _entered(run: RunRow, sequence: int, kind: StateType, name: str, at: datetime) -> RunRow:
    ended = kind in TERMINAL
    running = kind is R

    return run._replace(
        sequence=sequence,
        state_id=uuid7(),
        state_type=kind,
        state_name=name,
        state_at=at,
        started=run.started or (at if running else None),
        run_count=run.run_count + running,
        ended=at if ended else None,
        seconds=1.5 if ended else 0.0,
    )


def _row(run: RunRow, ordinal: int, owed: Owed) -> DeliveryRow:
    return DeliveryRow(
        id=delivery_id(run.state_id, ordinal),
        event_id=run.state_id,
        run_id=run.id,
        ordinal=ordinal,
        hook=owed.hook,
        importable=owed.importable,
        status=owed.status,
        attempts=owed.attempts,
        error=owed.error,
        updated=run.state_at,
    )


class Sample(NamedTuple):
    """The journal, and the ids of its runs."""

    journal: Journal
    failed: UUID
    tasks: list[UUID]
    running: UUID
    old: UUID


def fill(journal: Journal) -> Sample:
    """Write a flow that failed with its tasks, a running one, and an old one that completed."""
    journal.register(an_owner(OWNER))
    old = record_run(
        journal,
        COMPLETED,
        ago=timedelta(days=40),
        run_type="flow",
        name="hidden-lynx",
        definition="nightly",
        reference="nightly:nightly",
        tags=(),
    )
    dead = Owed("Failed", "alerts:page", DeliveryStatus.DEAD, 3, ERROR.model_dump_json())
    failed = record_run(
        journal,
        RETRIED,
        Owed("Running", "alerts:begun"),
        dead,
        Owed("Failed", "alerts:<lambda>", importable=False),
        run_type="flow",
        name="brave-otter",
        definition="etl",
        reference="etl:etl",
        tags=("eu", "prod"),
        parameters='[{"day": "2026-01-31", "limit": 10}]',
    )
    parent: dict[str, Any] = {
        "parent_run_id": failed,
        "flow_run_id": failed,
        "root_flow_run_id": failed,
    }
    tasks = [
        record_run(journal, COMPLETED, name="sly-fox", definition="extract", **parent),
        record_run(journal, RETRIED, name="calm-bee", definition="extract", **parent),
    ]
    running = record_run(
        journal,
        RUNNING,
        ago=timedelta(seconds=30),
        run_type="flow",
        name="quick-hare",
        definition="stream",
        reference="stream:stream",
    )

    return Sample(journal, failed, tasks, running, old)
