"""The four kinds of run: a flow or a task, sync or async."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from eventflow import flow, task
from eventflow.events import Event, FlowRunTransition, StateTransition, TaskRunTransition
from eventflow.states import (
    AnyState,
)


class Kind(NamedTuple):
    """One of the four kinds of run, and how to declare and execute one."""

    run_type: str
    is_async: bool

    def declare(self, body: Callable[..., Any], **options: Any) -> Any:
        """Make a definition named `work` of a body."""
        options.setdefault("name", "work")
        decorate = flow if self.run_type == "flow" else task
        if not self.is_async or inspect.iscoroutinefunction(body):
            return decorate(**options)(body)

        async def abody(number: int = 0) -> Any:
            result = body(number) if inspect.signature(body).parameters else body()
            return await result if inspect.isawaitable(result) else result

        return decorate(**options)(abody)

    def execute(self, definition: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the definition."""
        called = definition(*args, **kwargs)
        return asyncio.run(_awaited(called)) if self.is_async else called

    def state(self, definition: Any, *args: Any, **kwargs: Any) -> AnyState:
        """Call the definition for its state."""
        state: AnyState = self.execute(definition, *args, return_state=True, **kwargs)
        return state

    def stand_still(self) -> Awaitable[None] | None:
        """Wait, in a body, for what never comes."""
        if self.is_async:
            return asyncio.sleep(3600)
        threading.Event().wait(3600)
        return None


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


KINDS = [Kind(run_type, way) for run_type in ("flow", "task") for way in (False, True)]


def course(events: list[Event], name: str = "work") -> list[str]:
    """Give the names of the states that the one run of that name went through.

    Every published transition is checked: numbered without a gap, each following the last.
    """
    transitions = [
        event
        for event in events
        if isinstance(event, StateTransition) and event.definition_name == name
    ]
    last: StateTransition | None = None
    for number, event in enumerate(transitions):
        assert event.sequence == number
        assert event.id == event.to_state.id
        assert event.run_id == transitions[0].run_id
        assert event.follows == (None if last is None else last.id)
        assert event.from_state == (None if last is None else last.to_state)
        assert event.occurred == event.to_state.timestamp
        assert last is None or event.occurred >= last.occurred
        assert event.type == f"eventflow.{event.run_type}-run.{event.to_state.name}"
        assert isinstance(
            event, FlowRunTransition if event.run_type == "flow" else TaskRunTransition
        )
        assert type(event).model_validate_json(event.model_dump_json()) == event
        last = event

    return [event.to_state.name for event in transitions]


def raising(error: BaseException) -> Callable[[], Any]:
    def body() -> Any:
        raise error

    return body
