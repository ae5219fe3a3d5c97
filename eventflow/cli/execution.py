"""Calling a flow of any kind, sync or async, and the exit code for its end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from eventflow.errors import TerminationSignal
from eventflow.flows import Flow
from eventflow.states.state import AnyState

__all__ = ["execute", "exit_code"]

COMPLETED: Final = 0
FAILED: Final = 1
CRASHED: Final = 3
INTERRUPTED: Final = 130
TERMINATED: Final = 143


def execute(
    flow: Flow[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> BaseException | None:
    """Run a flow to its end; return the exception that it raised, if any.

    The run itself is not returned: a listener on the bus has it.
    """
    try:
        _call(flow, args, kwargs)
    except BaseException as error:  # noqa: BLE001 - the exit code depends on it
        return error

    return None


def _call(flow: Flow[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    if flow.isgenerator:
        items = flow(*args, **kwargs)
        if flow.isasync:
            asyncio.run(_exhaust(items))
        else:
            deque(items, maxlen=0)
    elif flow.isasync:
        asyncio.run(flow(*args, **kwargs, return_state=True))
    else:
        flow(*args, **kwargs, return_state=True)


async def _exhaust(items: AsyncIterator[Any]) -> None:
    async for _ in items:
        pass


def exit_code(state: AnyState, ended_by: BaseException | None) -> int:
    """Return the exit code for how a run ended."""
    if isinstance(ended_by, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(ended_by, TerminationSignal):
        return TERMINATED
    if state.is_crashed():
        return CRASHED
    if ended_by is not None and not isinstance(ended_by, Exception):
        return CRASHED  # a hook ended the process

    return COMPLETED if state.is_completed() else FAILED
