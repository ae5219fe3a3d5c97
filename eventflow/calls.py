"""Calling a definition: which driver carries the run out, and what the caller gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eventflow.definitions import Definition
from eventflow.drivers import adrive, adrive_generator, drive, drive_generator
from eventflow.jobs import Job

__all__ = ["call"]


def call(definition: Definition[Any, Any], make: Callable[[], Job], *, return_state: bool) -> Any:
    """Execute a run as its function is written: sync, async, or a generator of either kind.

    An async run, and a generator's, begins when its caller awaits it, or asks for an item. With
    `return_state` a generator returns its state (`state = yield from ...`).

    Raises:
        TypeError: the state of an async generator is asked for, which can return nothing.
    """
    if definition.is_generator:
        return _generate(definition, make, return_state=return_state)
    if definition.is_async:
        return _acall(make, return_state=return_state)
    state = drive(make())

    return state if return_state else state.result()


def _generate(
    definition: Definition[Any, Any], make: Callable[[], Job], *, return_state: bool
) -> Any:
    if not definition.is_async:
        return drive_generator(make, return_state=return_state)
    if return_state:
        raise TypeError(
            f"{definition.name} is an async generator, which cannot return its state; "
            "iterate over it, and subscribe to its transitions for the state."
        )

    return adrive_generator(make)


async def _acall(make: Callable[[], Job], *, return_state: bool) -> Any:
    state = await adrive(make())

    return state if return_state else state.result()
