"""Tasks to submit, and what their runs went through."""

from __future__ import annotations

import asyncio
from typing import Any

from eventflow import task
from eventflow.events import Event, StateTransition


@task
def add(number: Any, other: Any = 1) -> int:
    result: int = number + other
    return result


@task
async def aadd(number: Any, other: int = 1) -> int:
    await asyncio.sleep(0)
    result: int = number + other
    return result


@task
def fail(message: str = "failed") -> int:
    raise ValueError(message)


@task
async def stand_still() -> None:
    await asyncio.sleep(3600)


def course(events: list[Event], name: str) -> list[str]:
    return [
        event.to_state.name
        for event in events
        if isinstance(event, StateTransition) and event.definition_name == name
    ]
