"""`State`: one state of a run, its result, and the exception that it stands for."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NamedTuple, Self, TypeAlias, TypeVar
from uuid import UUID

from pydantic import Field

from eventflow.errors import CancelledRun, CrashedRun, FailedRun, PausedRun, RunError, UnfinishedRun
from eventflow.primitives.callables import refuse_await
from eventflow.primitives.ids import id_of, new_id
from eventflow.primitives.texts import is_a
from eventflow.primitives.tracebacks import own_traceback, trimmed
from eventflow.states.checks import Checked, checked
from eventflow.states.kinds import CANCELLED, COMPLETED, FAILED, TERMINAL, StateType, title
from eventflow.states.records import Deferred, ErrorInfo, record

__all__ = [
    "AnyState",
    "Origin",
    "State",
    "StateDetails",
    "get_state_exception",
    "make_state",
    "raise_state_exception",
    "set_origin",
    "states_in",
]

R = TypeVar("R")

Origin: TypeAlias = tuple[Literal["flow", "task"], int, UUID | None, str | None]
"""Which run entered a state: its type and number, its flow run, the key under which it caches."""


class StateDetails(NamedTuple):
    """What else is known of a state; each is None where it is not known, or not applicable.

    The ids are those of the run that entered it, and of the flow run around that. A state that
    was made by hand, and that no run has entered, has none. The worker is the process that executes
    the body, where that is not this one.
    """

    flow_run_id: UUID | None = None
    task_run_id: UUID | None = None
    cache_key: str | None = None
    scheduled_time: datetime | None = None
    pause_timeout: datetime | None = None
    worker_host: str | None = None
    worker_pid: int | None = None


class State(Deferred, Generic[R], frozen=True, ignored_types=(Checked,)):
    """A state of a run: a type, a name and when it was entered.

    `State(type=StateType.FAILED)` is enough; name, id and timestamp follow. `data` is the live
    result or exception; it stays in the process and is never serialised.
    """

    type: StateType
    name: str = Field(default_factory=lambda given: title(given["type"]))
    id: UUID = Field(default_factory=new_id)
    timestamp: datetime = Field(default_factory=lambda: datetime.now(UTC))
    message: str | None = None
    error: ErrorInfo | None = None
    data: Any = Field(default=None, exclude=True, repr=False)

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        kind = "" if self.name == title(self.type) else f", type={self.type}"

        return f"{self.name}({self.message!r}{kind})" if self.message else f"{self.name}()"

    @property
    def state_details(self) -> StateDetails:
        """The run that entered this state, and when something is to happen."""
        # Beside the fields, where pydantic keeps a cached property: most states have neither.
        details: StateDetails = self.__dict__.get("_details", _NO_DETAILS)
        origin: Origin | None = self.__dict__.get("_origin")
        if origin is None:
            return details
        run_type, number, flow_run_id, cache_key = origin
        task_run_id = id_of(number) if run_type == "task" else None

        return details._replace(
            flow_run_id=flow_run_id, task_run_id=task_run_id, cache_key=cache_key
        )

    def result(self, raise_on_failure: bool = True) -> R:  # noqa: FBT001, FBT002 - as in Prefect
        """Return the run's result: a plain call, in async code as well.

        With `raise_on_failure=False` the data of a failed, crashed or cancelled run is returned as
        it is: an exception, states, or what its body gave; without any, the exception to raise.

        Raises:
            Exception: the run failed, crashed or was cancelled, and this exception is its data, or
                that of the first failure among the states that are its data.
            FailedRun, CrashedRun, CancelledRun: it did, and has a message instead.
            PausedRun: the run is paused.
            UnfinishedRun: the run has not ended.
            TypeError: what it returns is awaited.
        """
        result = self._result(raise_on_failure=raise_on_failure)
        refuse_await(result, "State.result()", "`await state.aresult()`")

        return result

    async def aresult(self, raise_on_failure: bool = True) -> R:  # noqa: FBT001, FBT002 - as in Prefect
        """Return what `result` does, to be awaited."""
        return self._result(raise_on_failure=raise_on_failure)

    def _result(self, *, raise_on_failure: bool) -> R:
        if self.type is COMPLETED:
            return self.data  # type: ignore[no-any-return]
        if raise_on_failure or self.type not in _BROKEN:
            raise _to_raise(self)

        return _exception(self) if self.data is None else self.data  # type: ignore[return-value]

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

_FIELDS: Final = set(State.model_fields)
_NO_DETAILS: Final = StateDetails()


def make_state(
    kind: StateType,
    name: str,
    message: str | None,
    data: Any,
    error: ErrorInfo | None = None,
    *,
    key: UUID,
    timestamp: datetime,
    origin: Origin | None = None,
) -> AnyState:
    """Make a state of values that are known to be valid."""
    values: dict[str, Any] = {
        "type": kind,
        "name": name,
        "id": key,
        "timestamp": timestamp,
        "message": message,
        "error": error,
        "data": data,
    }

    if origin is not None:
        values["_origin"] = origin

    return record(State, values, _FIELDS)


def set_origin(state: AnyState, origin: Origin) -> None:
    """Note which run entered a state, unless that is noted already."""
    vars(state).setdefault("_origin", origin)


# -- exceptions ----------------------------------------------------------------------------------

_ERRORS: Final[dict[StateType, type[RunError]]] = {
    StateType.FAILED: FailedRun,
    StateType.CRASHED: CrashedRun,
    StateType.CANCELLED: CancelledRun,
    StateType.CANCELLING: CancelledRun,
    StateType.PAUSED: PausedRun,
}
_BROKEN: Final = frozenset({StateType.FAILED, StateType.CRASHED, StateType.CANCELLED})

_STEERING: Final = (GeneratorExit, asyncio.CancelledError)
"""By these Python ends what is executed: raised again elsewhere, they would end that instead."""


def get_state_exception(state: AnyState) -> BaseException:
    """Return the exception that the result of a failed, crashed or cancelled run raises.

    Raises:
        ValueError: the run did not end like that, or none of the states did that are its data.
        TypeError: its data is no exception, text or states, and it has no message.
    """
    if state.type not in _BROKEN:
        raise ValueError(f"Only a failed, crashed or cancelled run has an exception, not {state}.")
    error = _exception(state)
    refuse_await(error, "get_state_exception()")

    return error


def raise_state_exception(state: AnyState) -> None:
    """Raise the exception of a run that failed, crashed or was cancelled; else do nothing.

    Raises:
        Exception: as `State.result`.
    """
    if state.type in _BROKEN:
        raise _to_raise(state)
    refuse_await(None, "raise_state_exception()")


def states_in(value: object) -> list[AnyState]:
    """Return the state that a value is, or those that a list, tuple or set consists of."""
    if is_a(value, State):
        return [value]
    if not is_a(value, (list, tuple, set, frozenset)):
        return []
    for inner in value:
        if not is_a(inner, State):
            return []

    return list(value)


def _exception(state: AnyState) -> BaseException:
    data = None if state.type not in _BROKEN else state.data
    if is_a(data, BaseException) and not is_a(data, _STEERING):
        return data
    inner = states_in(data)
    if inner:
        return _first_exception(state, inner)
    if data is None or state.message is not None or is_a(data, (str, BaseException)):
        return _own_exception(state, data)
    raise TypeError(
        f"The run is {state.name}, and its data of type {type(data).__name__} cannot be resolved "
        "into an exception: give the state an exception, or a message."
    )


def _to_raise(state: AnyState) -> BaseException:
    """Return the exception of a state; who reads it where nobody catches it sees their own code."""
    error = _exception(state)

    return BaseException.with_traceback(error, trimmed(own_traceback(error)))


def _own_exception(state: AnyState, data: object) -> RunError:
    text = data if is_a(data, str) else state.message
    missing = "" if state.type in _BROKEN else ", and its result is not available"
    error = _ERRORS.get(state.type, UnfinishedRun)(text or f"The run is {state.name}{missing}.")
    if is_a(data, BaseException):
        error.__cause__ = data

    return error


def _first_exception(state: AnyState, states: list[AnyState]) -> BaseException:
    for inner in states:
        if inner.type in _BROKEN:
            return _exception(inner)
    for inner in states:
        if inner.type is not COMPLETED:
            return _exception(inner)
    raise ValueError(f"The run is {state}, but of the states that are its data none failed.")
