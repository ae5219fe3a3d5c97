"""The records of the client: runs and deliveries of the journal, frozen and typed."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from eventflow.hooks.declaration import Where
from eventflow.hooks.ledger import OWED, DeliveryStatus
from eventflow.primitives.durations import in_words
from eventflow.runs.run import RunType
from eventflow.states import StateType
from eventflow.states.records import Deferred, ErrorInfo
from eventflow.states.state import AnyState

__all__ = [
    "DeliveryRecord",
    "FailingHook",
    "FlowRunRecord",
    "LogRecord",
    "RunRecord",
    "TaskRunRecord",
]


class Record(Deferred, frozen=True, ser_json_timedelta="float"):
    """Plain data, with times in UTC; durations are seconds in JSON."""


class RunRecord(Record, frozen=True):
    """A run as of its last transition.

    `definition` is `module:qualname` of its flow or task; `parameters` is a JSON rendering for
    people, no live value; `owner` is the process that executes it. `overdue` is since when the run
    has been overdue, or was before it ended: None if it was not, or if no hook asks for that.
    `retries` is how often it may be retried, None if that is not known.
    """

    run_type: RunType
    id: UUID
    name: str
    definition_name: str
    definition: str
    version: str | None
    tags: tuple[str, ...]
    parameters: Any
    parent_run_id: UUID | None
    flow_run_id: UUID | None
    root_flow_run_id: UUID | None
    owner: str
    created: datetime
    start_time: datetime | None
    end_time: datetime | None
    total_run_time: timedelta
    run_count: int
    state: AnyState
    overdue: datetime | None = None
    retries: int | None = None

    @property
    def attempts(self) -> int:
        """How many attempts there may be at most, as far as that is known."""
        return max(self.run_count, (self.retries or 0) + 1)

    @property
    def state_type(self) -> StateType:
        """The type of the state."""
        return self.state.type

    @property
    def state_name(self) -> str:
        """The name of the state."""
        return self.state.name

    @property
    def is_finished(self) -> bool:
        """Whether the run has ended."""
        return self.end_time is not None


class FlowRunRecord(RunRecord, frozen=True):
    """A flow run as of its last transition."""

    run_type: Literal["flow"] = "flow"

    @property
    def flow_name(self) -> str:
        """The name of the flow."""
        return self.definition_name


class TaskRunRecord(RunRecord, frozen=True):
    """A task run as of its last transition."""

    run_type: Literal["task"] = "task"

    @property
    def task_name(self) -> str:
        """The name of the task."""
        return self.definition_name


class LogRecord(Record, frozen=True):
    """A line that was logged in a run: number `sequence` of its lines, counted from 1.

    `level` is that of `logging`, `logger` the name of the logger; `traceback` is None if the line
    has none. `left_out` is how many lines of the run before it, behind the last one, are not kept.
    """

    run_id: UUID
    sequence: int
    timestamp: datetime
    level: int
    logger: str
    message: str
    traceback: str | None
    left_out: int

    @property
    def level_name(self) -> str:
        """The name of the level, such as `WARNING`."""
        return logging.getLevelName(self.level)


class DeliveryRecord(Record, frozen=True):
    """One hook owed one event, with the status of the delivery.

    `hook` is its identity and `ordinal` its position among the hooks of the event; `importable`
    says whether another process can import it; `attempts` counts those that have begun; `due` is
    the earliest time of the next one; `error` is that of the last one. `lasting` is after
    how many seconds in the state the hook was owed it, `overdue_seconds` after how many the run was
    overdue; both are None for a hook that is owed the transition. `where` is who runs the hook: the
    owner of the run, or a worker. Fields of the run are None where the journal no longer has it.
    """

    id: UUID
    hook: str
    ordinal: int
    status: DeliveryStatus
    attempts: int
    due: datetime | None
    error: ErrorInfo | str | None
    updated: datetime | None
    importable: bool
    event_id: UUID
    run_id: UUID
    run_type: RunType | None
    run_name: str | None
    definition_name: str | None
    state_name: str | None
    occurred: datetime | None
    lasting: float | None = None
    overdue_seconds: float | None = None
    where: Where = "owner"

    @property
    def note(self) -> str | None:
        """What a worker has to do with it, until it is delivered or dead; else None."""
        if self.where == "owner" or self.status not in OWED:
            return None

        return "a worker runs it" if self.status is DeliveryStatus.RUNNING else "waits for a worker"

    @property
    def occasion(self) -> str:
        """What the hook is owed: a state, one that has lasted for so long, or an overdue run."""
        state = self.state_name or "?"
        if self.overdue_seconds is not None:
            return f"overdue after {in_words(self.overdue_seconds)}"

        return state if self.lasting is None else f"{state} for {in_words(self.lasting)}"


class FailingHook(Record, frozen=True):
    """A hook whose last deliveries are all dead, with the last of them.

    `dead` counts them, up to 1,000, and `since` is the time of the first: when the run entered the
    state that the hook was owed. It is None where the journal no longer has the run.
    """

    hook: str
    dead: int
    since: datetime | None
    last: DeliveryRecord
