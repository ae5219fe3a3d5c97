"""A journal with runs in every state, written through the Journal API."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import Journal
from eventflow.journal.records import state_text
from eventflow.states import StateType
from eventflow.states.records import ErrorInfo
from tests.journal.rows import ARun, an_owner, commit

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


_numbers: dict[str, int] = {}


def record_run(
    journal: Journal,
    states: Iterable[tuple[StateType, str]],
    *owed: Owed,
    ago: timedelta = timedelta(minutes=5),
    name: str = "brave-otter",
    definition: str = "extract",
    parent: UUID | None = None,
    parameters: str = '[{"url": "x"}]',
    **given: Any,
) -> UUID:
    """Enter these states, one a second, and commit each of them as an owner does."""
    run = ARun(
        created=datetime.now(UTC) - ago,
        number=_numbers.setdefault(f"{definition} {given}", len(_numbers) + 1),
        parent=None if parent is None else ARun(id=parent.int),
        named=name,
        facts=f"[{parameters}]",
        name=definition,
        **given,
    )
    for kind, state in states:
        due = [delivery for delivery in owed if delivery.state == state]
        commit(journal, *_entering(run, kind, state, due), owner=OWNER)

    return run.id


def _entering(run: ARun, kind: StateType, name: str, due: Sequence[Owed]) -> Iterator[bytes]:
    """Make the records of a transition, and of the deliveries that it is owed to."""
    state, sequence = state_text(kind, name), run.sequence + 1
    failed = name in {"AwaitingRetry", "Failed"}
    error = ERROR.model_dump_json() if failed else None
    event = json.dumps([state, run.at(sequence) - run.created, None, None, error])
    yield run.enter(
        state[0],
        *((delivery.hook, int(delivery.importable)) for delivery in due),
        done=len(due),
        events=f"!{sequence}\n{event}" if sequence else event,
        state=state.encode(),
    )
    for ordinal, delivery in enumerate(due):
        if (delivery.status, delivery.attempts) != (DeliveryStatus.DELIVERED, 1):
            yield run.settle(
                delivery.status,
                delivery.attempts,
                ordinal=ordinal,
                updated=run.at(),
                error=delivery.error,
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
    tasks = [
        record_run(journal, COMPLETED, name="sly-fox", parent=failed),
        record_run(journal, RETRIED, name="calm-bee", parent=failed),
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
