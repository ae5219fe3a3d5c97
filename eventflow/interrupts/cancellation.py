"""Cancelling a run by its id."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias
from uuid import UUID

from eventflow.interrupts.scopes import Reason, live

__all__ = ["Elsewhere", "cancel", "cancel_here", "elsewhere"]

Elsewhere: TypeAlias = Callable[[UUID], bool]
"""Asks for the cancellation of a run of another process; says whether there is such a run."""

_others: list[Elsewhere] = []


def elsewhere(ask: Elsewhere) -> Callable[[], None]:
    """Have runs that are not executed in this process asked for there; gives what ends that.

    Several may be asked, in the order in which they came; the first that says yes is the last.
    """
    _others.append(ask)

    return lambda: _others.remove(ask) if ask in _others else None


def cancel_here(run_id: UUID) -> bool | None:
    """Do what `cancel` does for a run that is executed in this process; None if it is not."""
    cancel_scope = live.get(run_id.int)

    return None if cancel_scope is None else cancel_scope.stop(Reason.CANCELLED)


def cancel(run_id: UUID | str) -> bool:
    """Ask for the cancellation of a run, wherever it is executed; does not wait for its end.

    Its body is interrupted, and within a second it enters Cancelling (whose hooks run); its
    children are cancelled with it. When the body has ended it enters Cancelled. A body that goes
    on for EVENTFLOW_CANCEL_SECONDS is given up, and its run is Crashed.

    Gives True if the cancellation was asked for by this call; False if nobody knows a run of that
    id, if it has ended, or if its cancellation had been asked for already.

    Raises:
        TypeError: the id is neither a UUID nor a string.
        ValueError: the id is no UUID.
    """
    if not isinstance(run_id, UUID | str):
        raise TypeError(f"A run's id is a UUID or a string, but got {run_id!r}.")
    wanted = run_id if isinstance(run_id, UUID) else UUID(run_id)
    answer = cancel_here(wanted)
    if answer is not None:
        return answer

    return any(ask(wanted) for ask in tuple(_others))
