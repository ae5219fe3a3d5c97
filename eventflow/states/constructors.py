"""The constructors of states, one for each name, and what several states are together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypedDict, Unpack
from uuid import UUID

from eventflow.primitives.ids import new_id
from eventflow.primitives.texts import is_a, printable
from eventflow.states.kinds import StateType
from eventflow.states.records import ErrorInfo
from eventflow.states.state import AnyState, State, StateDetails, make_state

__all__ = [
    "AwaitingRetry",
    "Cached",
    "Cancelled",
    "Cancelling",
    "Completed",
    "Crashed",
    "Failed",
    "Late",
    "NotReady",
    "Paused",
    "Pending",
    "Retrying",
    "RolledBack",
    "Running",
    "Scheduled",
    "Suspended",
    "TimedOut",
    "aggregate",
]


class _Others(TypedDict, total=False):
    """The fields that a constructor is seldom given."""

    id: UUID
    timestamp: datetime
    error: ErrorInfo | None


class _Fields(_Others, total=False):
    """All fields but the name, for the constructors that set it."""

    message: str | None
    data: Any


_EXCEPTIONAL: Final = frozenset({StateType.FAILED, StateType.CRASHED, StateType.CANCELLED})


def _made(kind: StateType, name: str, message: str | None, data: Any, others: _Others) -> AnyState:
    error = None
    if others:
        unknown = others.keys() - _Others.__annotations__.keys()
        if unknown:
            raise TypeError(f"A state has no field {min(unknown)!r}.")
        error = others.pop("error", None)
    if kind in _EXCEPTIONAL:
        message = printable(message) if isinstance(message, str) else message
        if error is None and is_a(data, BaseException):
            error = ErrorInfo.of(data)
    if others or type(name) is not str or not (message is None or type(message) is str):
        others["error"] = error
        return State(type=kind, name=name, message=message, data=data, **others)
    key, timestamp = new_id(), datetime.now(UTC)

    return make_state(kind, name, message, data, error, key=key, timestamp=timestamp)


def _detailed(state: AnyState, **details: Any) -> AnyState:
    vars(state)["_details"] = StateDetails(**details)

    return state


def Scheduled(
    *,
    name: str = "Scheduled",
    message: str | None = None,
    data: Any = None,
    scheduled_time: datetime | None = None,
    **others: Unpack[_Others],
) -> AnyState:
    """The run is waiting for its scheduled time; without one it is now."""
    state = _made(StateType.SCHEDULED, name, message, data, others)

    return _detailed(state, scheduled_time=scheduled_time or state.timestamp)


def Late(*, scheduled_time: datetime | None = None, **fields: Unpack[_Fields]) -> AnyState:
    """The run's scheduled time has passed and it has not begun."""
    return Scheduled(name="Late", scheduled_time=scheduled_time, **fields)


def AwaitingRetry(*, scheduled_time: datetime | None = None, **fields: Unpack[_Fields]) -> AnyState:
    """An attempt failed and another one will follow, at the scheduled time."""
    return Scheduled(name="AwaitingRetry", scheduled_time=scheduled_time, **fields)


def Pending(
    *,
    name: str = "Pending",
    message: str | None = None,
    data: Any = None,
    **others: Unpack[_Others],
) -> AnyState:
    """The run exists and its body has not begun."""
    return _made(StateType.PENDING, name, message, data, others)


def NotReady(**fields: Unpack[_Fields]) -> AnyState:
    """The run will not begin: something it waits for did not complete."""
    return Pending(name="NotReady", **fields)


def Running(
    *,
    name: str = "Running",
    message: str | None = None,
    data: Any = None,
    **others: Unpack[_Others],
) -> AnyState:
    """The body is being executed."""
    return _made(StateType.RUNNING, name, message, data, others)


def Retrying(**fields: Unpack[_Fields]) -> AnyState:
    """The body is being executed again after a failed attempt."""
    return Running(name="Retrying", **fields)


def Completed(
    *,
    name: str = "Completed",
    message: str | None = None,
    data: Any = None,
    **others: Unpack[_Others],
) -> AnyState:
    """The run completed; `data` is its result."""
    return _made(StateType.COMPLETED, name, message, data, others)


def Cached(**fields: Unpack[_Fields]) -> AnyState:
    """The result was known already; the body was not called."""
    return Completed(name="Cached", **fields)


def RolledBack(**fields: Unpack[_Fields]) -> AnyState:
    """The run completed and what it did was undone."""
    return Completed(name="RolledBack", **fields)


def Failed(
    *,
    name: str = "Failed",
    message: str | None = None,
    data: Any = None,
    **others: Unpack[_Others],
) -> AnyState:
    """The run ended with an exception; `data` is that exception, where there is one."""
    return _made(StateType.FAILED, name, message, data, others)


def TimedOut(**fields: Unpack[_Fields]) -> AnyState:
    """The body did not end within the run's own timeout."""
    return Failed(name="TimedOut", **fields)


def Crashed(
    *,
    name: str = "Crashed",
    message: str | None = None,
    data: Any = None,
    **others: Unpack[_Others],
) -> AnyState:
    """The run was ended from outside; `data` is what ended it, where it is known."""
    return _made(StateType.CRASHED, name, message, data, others)


def Cancelling(
    *,
    name: str = "Cancelling",
    message: str | None = None,
    data: Any = None,
    **others: Unpack[_Others],
) -> AnyState:
    """The run is being cancelled."""
    return _made(StateType.CANCELLING, name, message, data, others)


def Cancelled(
    *,
    name: str = "Cancelled",
    message: str | None = None,
    data: Any = None,
    **others: Unpack[_Others],
) -> AnyState:
    """The run was stopped through eventflow."""
    return _made(StateType.CANCELLED, name, message, data, others)


def Paused(
    *,
    name: str = "Paused",
    message: str | None = None,
    data: Any = None,
    timeout_seconds: float | None = None,
    **others: Unpack[_Others],
) -> AnyState:
    """The run is paused; `timeout_seconds` says for how long, which nothing here acts upon."""
    state = _made(StateType.PAUSED, name, message, data, others)
    if timeout_seconds is None:
        return state

    return _detailed(state, pause_timeout=state.timestamp + timedelta(seconds=timeout_seconds))


def Suspended(*, timeout_seconds: float | None = None, **fields: Unpack[_Fields]) -> AnyState:
    """The run is paused, and no process executes it."""
    return Paused(name="Suspended", timeout_seconds=timeout_seconds, **fields)


def aggregate(states: Iterable[AnyState], data: Any = None) -> AnyState:
    """Combine the states of several runs, which are in `data`, to one.

    Any cancelled: Cancelled; any paused: Paused; all completed: Completed; else Failed, with the
    description of the first failure's exception.
    """
    states = list(states)
    counts = Counter(state.type for state in states)
    total = len(states)
    if counts[StateType.COMPLETED] == total:
        return Completed(message="All states completed.", data=data)
    if counts[StateType.CANCELLED]:
        message = f"{counts[StateType.CANCELLED]}/{total} states cancelled."
        return Cancelled(message=message, data=data)
    if counts[StateType.PAUSED]:
        return Paused(message=f"{counts[StateType.PAUSED]}/{total} states paused.", data=data)
    failed = [state for state in states if state.type in _EXCEPTIONAL]
    if failed:
        message = f"{len(failed)}/{total} states failed."
        return Failed(message=message, data=data, error=failed[0].error)
    unfinished = total - counts[StateType.COMPLETED]

    return Failed(message=f"{unfinished}/{total} states are not final.", data=data)
