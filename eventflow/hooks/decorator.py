"""`@hook`: declares a function as a hook on the bus in force."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import eventflow.eventbus
import eventflow.hooks
from eventflow.eventbus.selections import States
from eventflow.hooks.declaration import Hook, HookFunction, Where
from eventflow.retries import Delays

if TYPE_CHECKING:
    from eventflow.runs.run import RunType

__all__ = ["hook"]

F = TypeVar("F", bound=HookFunction)


def hook(
    *,
    run_type: RunType | None = None,
    state: States = None,
    name: str | None = None,
    tags: Iterable[str] | None = None,
    lasting: float | timedelta | None = None,
    overdue_seconds: float | timedelta | None = None,
    id: str | None = None,
    timeout_seconds: float | None = None,
    retries: int = 0,
    retry_delay_seconds: Delays = None,
    where: Where = "owner",
) -> Callable[[F], F]:
    """Declare a function as a hook of every run that matches, whoever declared the run.

    The function is left as it is; the bus in force calls it with `(definition, run, state)`.

    `run_type`, `state`, `name` (a pattern) and `tags` select the runs and their transitions; with
    `lasting` it is called once the state has lasted so long. The other options are those of `Hook`.

    Raises:
        TypeError: what is decorated is not callable, or not with three positional arguments, or
            an option is of a wrong type.
        ValueError: an option has a wrong value.
    """

    def declare(function: F) -> F:
        declared = Hook(
            function,
            state=state,
            run_type=run_type,
            name=name,
            tags=tags,
            lasting=lasting,
            overdue_seconds=overdue_seconds,
            id=id,
            timeout_seconds=timeout_seconds,
            retries=retries,
            retry_delay_seconds=retry_delay_seconds,
            where=where,
        )
        receiver = eventflow.hooks.HookReceiver(declared)
        bus = eventflow.eventbus.current_bus()
        bus.attach(function, receiver, declared.filter(), hook=declared)

        return function

    return declare
