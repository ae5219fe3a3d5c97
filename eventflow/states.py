"""States: their types, their constructors and the legal transitions between them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar
from uuid import UUID

from pydantic import Field

from eventflow.errors import CancelledRun, CrashedRun, FailedRun, UnfinishedRun
from eventflow.primitives.checks import Checked, checked
from eventflow.primitives.ids import new_id
from eventflow.primitives.records import Deferred, ErrorInfo, is_a, printable, record

__all__ = [
    "KNOWN_NAMES",
    "LEGAL",
    "TERMINAL",
    "AnyState",
    "AwaitingRetry",
    "Cached",
    "Cancelled",
    "Cancelling",
    "Completed",
    "Crashed",
    "ErrorInfo",
    "Failed",
    "Late",
    "NotReady",
    "Paused",
    "Pending",
    "Retrying",
    "RolledBack",
    "Running",
    "Scheduled",
    "State",
    "StateType",
    "Suspended",
    "TimedOut",
    "aggregate",
]

R = TypeVar("R")


class StateType(StrEnum):
    """The nine types of state; every state has one of them, whatever its name."""

    SCHEDULED = "SCHEDULED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    CRASHED = "CRASHED"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"

    # Called at every publish: that of Enum is a Python function, that of str is not.
    __hash__ = str.__hash__


# Named once: Python 3.11 looks a member up by calling Python code, too slow for every transition.
PENDING: Final = StateType.PENDING
RUNNING: Final = StateType.RUNNING
COMPLETED: Final = StateType.COMPLETED
FAILED: Final = StateType.FAILED
CANCELLED: Final = StateType.CANCELLED

TERMINAL: Final = frozenset(
    {StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED, StateType.CRASHED}
)


class State(Deferred, Generic[R], frozen=True, ignored_types=(Checked,)):
    """A state of a run: a type, a name and when it was entered.

    `State(type=StateType.FAILED)` is enough; name, id and timestamp follow. `data` is the live
    result or exception; it stays in the process and is never serialised.
    """

    type: StateType
    name: str = Field(default_factory=lambda given: _title(given["type"]))
    id: UUID = Field(default_factory=new_id)
    timestamp: datetime = Field(default_factory=lambda: datetime.now(UTC))
    message: str | None = None
    error: ErrorInfo | None = None
    data: Any = Field(default=None, exclude=True, repr=False)

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        kind = "" if self.name == _title(self.type) else f", type={self.type}"

        return f"{self.name}({self.message!r}{kind})" if self.message else f"{self.name}()"

    def result(self, raise_on_failure: bool = True) -> R:  # noqa: FBT001, FBT002 - as in Prefect
        """Return the run's result.

        With `raise_on_failure=False` an exception is returned instead of raised.

        Raises:
            FailedRun: the run failed and left no exception; otherwise that exception itself.
            CrashedRun: the run crashed.
            CancelledRun: the run was cancelled.
            UnfinishedRun: the run has not ended.
        """
        if self.type is COMPLETED:
            return self.data  # type: ignore[no-any-return]

        error = self._error()
        if raise_on_failure:
            raise error

        return error  # type: ignore[return-value]

    def _error(self) -> Exception:
        if self.type is StateType.FAILED and is_a(self.data, Exception):
            return self.data

        message = self.message or f"The run is {self.name}."
        error = _ERRORS.get(self.type, UnfinishedRun)(message)
        if is_a(self.data, BaseException):
            error.__cause__ = self.data

        return error

    def detached(self) -> Self:
        """Return this state without its live data, as an event holds it."""
        if self.data is None:
            return self
        error = self.error
        if error is None and is_a(self.data, BaseException):
            error = ErrorInfo.of(self.data)

        return record(type(self), {**self.__dict__, "data": None, "error": error}, _FIELDS)

    @checked
    def is_scheduled(self) -> bool:
        """Whether the run waits for a time to begin, or to begin again."""
        return self.type is StateType.SCHEDULED

    @checked
    def is_pending(self) -> bool:
        """Whether the run is about to begin."""
        return self.type is StateType.PENDING

    @checked
    def is_running(self) -> bool:
        """Whether the body is being executed."""
        return self.type is StateType.RUNNING

    @checked
    def is_completed(self) -> bool:
        """Whether the run ended well."""
        return self.type is COMPLETED

    @checked
    def is_failed(self) -> bool:
        """Whether the run ended with an exception or a timeout."""
        return self.type is FAILED

    @checked
    def is_cancelled(self) -> bool:
        """Whether the run was cancelled through eventflow."""
        return self.type is CANCELLED

    @checked
    def is_crashed(self) -> bool:
        """Whether the run was ended from outside."""
        return self.type is StateType.CRASHED

    @checked
    def is_paused(self) -> bool:
        """Whether the run is paused until it is resumed."""
        return self.type is StateType.PAUSED

    @checked
    def is_cancelling(self) -> bool:
        """Whether the run is being cancelled and has not ended."""
        return self.type is StateType.CANCELLING

    @checked
    def is_final(self) -> bool:
        """Whether no other state can follow."""
        return self.type in TERMINAL


if TYPE_CHECKING:
    AnyState = State[Any]
else:
    # `State[Any]` is another class at run time, of which plain states are no instances.
    AnyState = State

_TITLES: Final = {kind: kind.value.capitalize() for kind in StateType}
_ERRORS: Final = {
    StateType.FAILED: FailedRun,
    StateType.CRASHED: CrashedRun,
    StateType.CANCELLED: CancelledRun,
    StateType.CANCELLING: CancelledRun,
}


def _title(kind: StateType) -> str:
    return _TITLES[kind]


_FIELDS: Final = set(State.model_fields)


def _made(
    kind: StateType,
    name: str,
    message: str | None,
    data: Any = None,
    error: ErrorInfo | None = None,
) -> AnyState:
    if type(name) is str and (message is None or type(message) is str):
        return make_state(
            kind, name, message, data, error, key=new_id(), timestamp=datetime.now(UTC)
        )

    return State(type=kind, name=name, message=message, error=error, data=data)


def make_state(
    kind: StateType,
    name: str,
    message: str | None,
    data: Any,
    error: ErrorInfo | None = None,
    *,
    key: UUID,
    timestamp: datetime,
) -> AnyState:
    """Make a state of values that are known to be valid."""
    values = {
        "type": kind,
        "name": name,
        "id": key,
        "timestamp": timestamp,
        "message": message,
        "error": error,
        "data": data,
    }

    return record(State, values, _FIELDS)


def _ended(kind: StateType, name: str, message: str | None, data: Any) -> AnyState:
    error = ErrorInfo.of(data) if is_a(data, BaseException) else None
    text = printable(message) if isinstance(message, str) else message

    return _made(kind, name, text, data, error)


def Scheduled(*, name: str = "Scheduled", message: str | None = None) -> AnyState:
    """The run is waiting for its scheduled time."""
    return _made(StateType.SCHEDULED, name, message)


def Late(*, message: str | None = None) -> AnyState:
    """The run's scheduled time has passed and it has not begun."""
    return Scheduled(name="Late", message=message)


def AwaitingRetry(*, message: str | None = None, error: ErrorInfo | None = None) -> AnyState:
    """An attempt failed and another one will follow."""
    return _made(StateType.SCHEDULED, "AwaitingRetry", message, error=error)


def Pending(*, name: str = "Pending", message: str | None = None) -> AnyState:
    """The run exists and its body has not begun."""
    return _made(PENDING, name, message)


def NotReady(*, message: str | None = None) -> AnyState:
    """The run will not begin: something it waits for did not complete."""
    return Pending(name="NotReady", message=message)


def Running(*, name: str = "Running", message: str | None = None) -> AnyState:
    """The body is being executed."""
    return _made(RUNNING, name, message)


def Retrying(*, message: str | None = None) -> AnyState:
    """The body is being executed again after a failed attempt."""
    return Running(name="Retrying", message=message)


def Completed(*, name: str = "Completed", message: str | None = None, data: Any = None) -> AnyState:
    """The run completed; `data` is its result."""
    return _made(COMPLETED, name, message, data)


def Cached(*, message: str | None = None, data: Any = None) -> AnyState:
    """The result was known already; the body was not called."""
    return Completed(name="Cached", message=message, data=data)


def RolledBack(*, message: str | None = None, data: Any = None) -> AnyState:
    """The run completed and what it did was undone."""
    return Completed(name="RolledBack", message=message, data=data)


def Failed(*, name: str = "Failed", message: str | None = None, data: Any = None) -> AnyState:
    """The run ended with an exception; `data` is that exception, where there is one."""
    return _ended(StateType.FAILED, name, message, data)


def TimedOut(*, message: str | None = None, data: Any = None) -> AnyState:
    """The body did not end within the run's own timeout."""
    return Failed(name="TimedOut", message=message, data=data)


def Crashed(*, name: str = "Crashed", message: str | None = None, data: Any = None) -> AnyState:
    """The run was ended from outside; `data` is what ended it, where it is known."""
    return _ended(StateType.CRASHED, name, message, data)


def Cancelling(*, name: str = "Cancelling", message: str | None = None) -> AnyState:
    """The run is being cancelled."""
    return _made(StateType.CANCELLING, name, message)


def Cancelled(*, name: str = "Cancelled", message: str | None = None) -> AnyState:
    """The run was stopped through eventflow."""
    return _made(StateType.CANCELLED, name, message)


def Paused(*, name: str = "Paused", message: str | None = None) -> AnyState:
    """The run is paused until it is resumed."""
    return _made(StateType.PAUSED, name, message)


def Suspended(*, message: str | None = None) -> AnyState:
    """The run is paused, and no process executes it."""
    return Paused(name="Suspended", message=message)


KNOWN_NAMES: Final = frozenset(
    {*_TITLES.values(), "Late", "AwaitingRetry", "Retrying", "Cached"}
    | {"RolledBack", "TimedOut", "NotReady", "Suspended"}
)
"""The names of eventflow's own states; a user may choose any other."""


def _legal() -> dict[StateType | None, frozenset[StateType]]:
    kind = StateType
    # From every state a run can fail, crash or be cancelled.
    always = {kind.FAILED, kind.CRASHED, kind.CANCELLING}
    onward = {
        kind.SCHEDULED: {kind.PENDING, kind.RUNNING, kind.SCHEDULED, kind.PAUSED},
        kind.PENDING: {kind.PENDING, kind.SCHEDULED, kind.RUNNING, kind.COMPLETED, kind.PAUSED},
        kind.RUNNING: {kind.COMPLETED, kind.SCHEDULED, kind.PAUSED},
        kind.PAUSED: {kind.RUNNING, kind.SCHEDULED},
        kind.CANCELLING: {kind.CANCELLED},
    }
    table: dict[StateType | None, frozenset[StateType]] = {
        source: frozenset(targets | always) for source, targets in onward.items()
    }
    table |= dict.fromkeys(TERMINAL, frozenset())
    table[None] = frozenset({kind.PENDING, kind.SCHEDULED})

    return table


LEGAL: Final = MappingProxyType(_legal())
"""For each state type (None: no state yet) the types that may be entered next."""


def aggregate(states: Iterable[AnyState], data: Any = None) -> AnyState:
    """Combine the states of several ended runs: all completed, any cancelled, else failed.

    A failed state has the first failure's exception as its data.
    """
    states = list(states)
    completed = sum(state.is_completed() for state in states)
    if completed == len(states):
        return Completed(message="All states completed.", data=data)

    summary = f"{len(states) - completed} of {len(states)} states did not complete."
    if any(state.is_cancelled() or state.is_cancelling() for state in states):
        return Cancelled(message=summary)
    first = next(state for state in states if not state.is_completed())

    return Failed(message=summary, data=first.result(raise_on_failure=False))
