"""The rows that readers of the journal get, and the states that they tell of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from pydantic import ValidationError

from eventflow.hooks.ledger import WORKERS, DeliveryStatus
from eventflow.runs.run import RunType
from eventflow.states import StateType
from eventflow.states.records import ErrorInfo
from eventflow.states.state import AnyState, State, set_origin
from eventflow.values.unavailable import Unavailable

__all__ = [
    "DeliveryRow",
    "EventRow",
    "FailedDeliveries",
    "Finding",
    "LogLine",
    "LogRow",
    "OwnEvent",
    "OwnerRow",
    "Pruned",
    "RunRow",
    "Statistics",
    "StoredRun",
    "error_of",
    "maybe_moment",
    "micros",
    "moment",
    "owner_in",
    "owner_out",
    "sanitized",
    "state_of",
    "with_unavailable_data",
]


class StoredRun(NamedTuple):
    """A run as it is stored, with its definition: of that, everything is None if it is not known.

    Ids are numbers, times microseconds since 1970. `acks` tells how many hooks are owed the last
    transition, how many of them have begun, how many are done, and when that changed last.
    """

    id: int
    parent: int | None
    keeper: str | None
    created: int
    ended: int | None
    state: str
    sequence: int
    acks: bytes | None
    name: str | None
    facts: bytes | None
    events: bytes
    owner: str | None
    run_type: str | None
    definition: str | None
    reference: str | None
    version: str | None
    tags: str | None
    hooks: str | None
    global_hooks: str | None
    retries: int | None = None


class RunRow(NamedTuple):
    """A run as of its last transition.

    `owner` is the process that executes it; `reference` is `module:qualname` of its definition;
    `parameters` is the JSON of `eventflow.values.recording`, None until they are recorded;
    `seconds` is how long its body has been executed. `hooks` and `global_hooks` name the sets of
    hooks that it is subject to: those of its definition, and those of its bus. They are empty where
    there is no set, and None where that is not known. `retries` is how often it may be retried.
    """

    id: UUID
    run_type: RunType
    name: str
    definition: str
    reference: str
    version: str | None
    tags: tuple[str, ...]
    parameters: str | None
    parent_run_id: UUID | None
    flow_run_id: UUID | None
    root_flow_run_id: UUID | None
    owner: str
    created: datetime
    started: datetime | None
    ended: datetime | None
    seconds: float
    run_count: int
    sequence: int
    state_id: UUID
    state_type: StateType
    state_name: str
    state_at: datetime
    message: str | None
    hooks: str | None = None
    global_hooks: str | None = None
    retries: int | None = None


class EventRow(NamedTuple):
    """One transition: its run, its sequence there, and the state that was entered.

    `error` is the JSON of an `ErrorInfo`.
    """

    id: UUID
    run_id: UUID
    sequence: int
    state_type: StateType
    state_name: str
    occurred: datetime
    run_count: int
    message: str | None
    error: str | None
    follows: UUID | None


class DeliveryRow(NamedTuple):
    """One hook owed one transition, which is number `sequence` of its run.

    `ordinal` is its position among the hooks of that event; `hook` the hook's identity;
    `importable` whether another process can import it; `due` when the next attempt may begin.
    """

    id: UUID
    event_id: UUID
    run_id: UUID
    sequence: int
    ordinal: int
    hook: str
    importable: bool
    status: DeliveryStatus = DeliveryStatus.PENDING
    attempts: int = 0
    due: datetime | None = None
    error: str | None = None
    updated: datetime | None = None

    @property
    def is_workers(self) -> bool:
        """Whether a worker runs the hook."""
        return self.ordinal >= WORKERS


class OwnEvent(NamedTuple):
    """An event of the user's own; `content` is its JSON."""

    id: UUID
    type: str
    occurred: datetime
    content: str


class FailedDeliveries(NamedTuple):
    """How many deliveries of a hook have failed, or are dead, and since when until when."""

    hook: str
    status: DeliveryStatus
    deliveries: int
    first: datetime
    last: datetime


class TalliedRuns(NamedTuple):
    """How many runs of a definition are in a state, written as in a record, and from when to when.

    Times are microseconds since 1970; `end` is None if none of them has ended.
    """

    run_type: str | None
    definition: str | None
    state: str
    runs: int
    begin: int
    end: int | None


class LogLine(NamedTuple):
    """A line that was logged in a run.

    `number` grows from line to line of its owner, so that none is stored twice; `skipped` counts
    the lines of the run before it that were not recorded. `level` is that of `logging`, `at` in
    microseconds since 1970; `error` is the traceback.
    """

    run: str
    number: int
    skipped: int
    at: int
    level: int
    logger: str
    message: str
    error: str | None = None


class LogRow(NamedTuple):
    """A line that was logged in a run: number `sequence`, counted from 1 and without gaps.

    Where numbers are missing, lines are not kept. `level` is that of `logging`; `error` is the
    traceback.
    """

    run_id: UUID
    sequence: int
    at: datetime
    level: int
    logger: str
    message: str
    error: str | None


@dataclass(frozen=True, slots=True)
class Pruned:
    """What `prune` deleted."""

    runs: int
    events: int
    deliveries: int
    owners: int


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault that `verify` found: its kind, the run, and a message."""

    kind: str
    run_id: UUID
    message: str


@dataclass(frozen=True, slots=True)
class Statistics:
    """How much a journal holds.

    `size` is in bytes, without what `events_after` reads, and the space that is free for reuse.
    """

    runs: int
    unfinished: int
    events: int
    deliveries: dict[str, int]
    owners: int
    alive: int
    size: int
    schema: int


class OwnerRow(NamedTuple):
    """A process that executes runs: where it runs, and how its definitions are loaded again.

    `main_file` and `main_module` say what its `__main__` is. The last four fields are set by the
    journal.
    """

    id: str
    host: str
    boot: str
    pid: int
    started: datetime
    main_file: str | None
    main_module: str | None
    argv: tuple[str, ...]
    cwd: str
    sys_path: tuple[str, ...]
    token: int = 0
    lease_until: datetime | None = None
    ended: datetime | None = None
    reason: str | None = None


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def micros(when: datetime) -> int:
    """Convert a moment to microseconds since 1970 in UTC."""
    return (when - _EPOCH) // _MICROSECOND


def moment(value: int) -> datetime:
    """Convert microseconds since 1970 to a moment."""
    return _EPOCH + timedelta(microseconds=value)


def maybe_moment(value: int | None) -> datetime | None:
    """Do what `moment` does, unless there is none."""
    return None if value is None else moment(value)


def _list(items: tuple[str, ...]) -> str:
    return json.dumps(items) if items else "[]"


def _tuple(text: str) -> tuple[str, ...]:
    return () if text == "[]" else tuple(json.loads(text))


def sanitized(values: Sequence[Any]) -> tuple[Any, ...]:
    """Replace characters that a database cannot store in a text by U+FFFD."""
    return tuple(
        value.encode("utf-8", "surrogatepass").decode("utf-8", "replace").replace("\0", "\ufffd")
        if isinstance(value, str)
        else value
        for value in values
    )


def owner_out(row: OwnerRow) -> tuple[Any, ...]:
    """Convert what an owner registers with to the values in a database."""
    return (
        *(row.id, row.host, row.boot, row.pid, micros(row.started)),
        *(row.main_file, row.main_module),
        *(_list(row.argv), row.cwd, _list(row.sys_path)),
    )


def owner_in(values: Sequence[Any]) -> OwnerRow:
    """Read an owner."""
    return OwnerRow(*values)._replace(
        started=moment(values[4]),
        argv=_tuple(values[7]),
        sys_path=_tuple(values[9]),
        lease_until=maybe_moment(values[11]),
        ended=maybe_moment(values[12]),
    )


def state_of(row: EventRow | RunRow) -> AnyState:
    """Make the state that an event entered, or that a run is in, which knows that run."""
    if isinstance(row, RunRow):
        state_id, moment, error = row.state_id, row.state_at, None
    else:
        state_id, moment, error = row.id, row.occurred, row.error
    described = error_of(error)
    state: AnyState = State(
        type=row.state_type,
        name=row.state_name,
        id=state_id,
        timestamp=moment,
        message=row.message,
        error=described if isinstance(described, ErrorInfo) else None,
    )
    if isinstance(row, RunRow):
        set_origin(state, (row.run_type, row.id.int, row.flow_run_id, None))

    return state


# One for all states, so that two of them may still be compared.
_NO_DATA: Final = Unavailable(
    "the result or the exception of a run stays in its process and is not recorded"
)


def with_unavailable_data(state: AnyState) -> AnyState:
    """Return the state of a run in another process as a hook gets it: its data is not known."""
    if not state.is_final() or state.data is not None:
        return state

    return state.model_copy(update={"data": _NO_DATA})


def error_of(text: str | None) -> ErrorInfo | str | None:
    """Read an error; what is no `ErrorInfo` is its text."""
    if text is None:
        return None
    try:
        return ErrorInfo.model_validate_json(text)
    except ValidationError:
        return text
