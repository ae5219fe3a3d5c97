"""The hand-written minimum: the same states and events, built by pydantic.

The models have the fields of eventflow's own, and are as plain as frozen models can be. The
floor of a run is three states, three events, one callback and one call of the function.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from uuid_utils.compat import uuid7

from eventflow.states import StateType

__all__ = ["FloorEvent", "FloorOwnEvent", "FloorState", "arun", "enter", "publish", "run"]


class FloorError(BaseModel):
    """The fields of an ErrorInfo."""

    model_config = ConfigDict(frozen=True)

    type: str
    message: str
    traceback: str = ""


class FloorState(BaseModel):
    """The fields of a State."""

    model_config = ConfigDict(frozen=True)

    type: StateType
    name: str
    id: UUID = Field(default_factory=uuid7)
    timestamp: datetime = Field(default_factory=lambda: datetime.now(UTC))
    message: str | None = None
    error: FloorError | None = None
    data: Any = Field(default=None, exclude=True, repr=False)


class FloorEvent(BaseModel):
    """The fields of a TaskRunTransition."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    occurred: datetime
    follows: UUID | None
    run_type: Literal["task"] = "task"
    run_id: UUID
    run_name: str
    definition_name: str
    flow_run_id: UUID | None
    parent_run_id: UUID | None
    root_flow_run_id: UUID | None
    from_state: FloorState | None
    to_state: FloorState
    tags: frozenset[str]
    run_count: int
    sequence: int


class FloorOwnEvent(BaseModel):
    """The fields of a user's own event with one field."""

    model_config = ConfigDict(frozen=True)

    id: UUID = Field(default_factory=uuid7)
    occurred: datetime = Field(default_factory=lambda: datetime.now(UTC))
    follows: UUID | None = None
    number: int


_NO_TAGS: frozenset[str] = frozenset()


def _enter(
    run_id: UUID, previous: FloorState | None, entered: FloorState, sequence: int
) -> FloorEvent:
    return FloorEvent(
        id=entered.id,
        occurred=entered.timestamp,
        follows=None if previous is None else previous.id,
        run_id=run_id,
        run_name="calm-otter",
        definition_name="work",
        flow_run_id=None,
        parent_run_id=None,
        root_flow_run_id=None,
        from_state=previous,
        to_state=entered,
        tags=_NO_TAGS,
        run_count=min(sequence, 1),
        sequence=sequence,
    )


def run(function: Callable[[int], Any], argument: int, callback: Callable[..., object]) -> Any:
    """Do by hand what a task call with one hook does."""
    run_id = uuid7()
    pending = FloorState(type=StateType.PENDING, name="Pending")
    _enter(run_id, None, pending, 0)
    running = FloorState(type=StateType.RUNNING, name="Running")
    _enter(run_id, pending, running, 1)
    result = function(argument)
    completed = FloorState(type=StateType.COMPLETED, name="Completed", data=result)
    callback(function, _enter(run_id, running, completed, 2), completed)

    return result


async def arun(
    function: Callable[[int], Awaitable[Any]],
    argument: int,
    callback: Callable[..., Awaitable[object]],
) -> Any:
    """Do by hand what an async task call with one async hook does."""
    run_id = uuid7()
    pending = FloorState(type=StateType.PENDING, name="Pending")
    _enter(run_id, None, pending, 0)
    running = FloorState(type=StateType.RUNNING, name="Running")
    _enter(run_id, pending, running, 1)
    result = await function(argument)
    completed = FloorState(type=StateType.COMPLETED, name="Completed", data=result)
    await callback(function, _enter(run_id, running, completed, 2), completed)

    return result


def enter(listeners: Sequence[Callable[[Any], object]]) -> None:
    """Do by hand what making a run, entering a state and publishing it does."""
    pending = FloorState(type=StateType.PENDING, name="Pending")
    event = _enter(uuid7(), None, pending, 0)
    for listener in listeners:
        listener(event)


def publish(number: int, listeners: Sequence[Callable[[Any], object]]) -> None:
    """Do by hand what publishing a user event to listeners does."""
    event = FloorOwnEvent(number=number)
    for listener in listeners:
        listener(event)
