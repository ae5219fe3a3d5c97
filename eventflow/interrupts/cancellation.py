"""Cancelling a run by its id."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias
from uuid import UUID

from eventflow.interrupts.scopes import Reason, active_runs

__all__ = ["Canceller", "cancel", "cancel_here", "register_canceller"]

Canceller: TypeAlias = Callable[[UUID], bool]
"""Requests the cancellation of a run of another process; returns whether that was accepted."""

_cancellers: list[Canceller] = []


def register_canceller(canceller: Canceller) -> Callable[[], None]:
    """Have runs that are not executed in this process cancelled by a function.

    Several are called in the order of their registration, until one returns True. Return what
    unregisters this one.
    """
    _cancellers.append(canceller)

    return lambda: _cancellers.remove(canceller) if canceller in _cancellers else None


def cancel_here(run_id: UUID) -> bool | None:
    """Do what `cancel` does for a run that is executed in this process; None if it is not."""
    run = active_runs.get(run_id.int)

    return None if run is None else run.cancel_scope.stop(Reason.CANCELLED)


def cancel(run_id: UUID | str) -> bool:
    """Request the cancellation of a run, in whichever process; does not wait for its end.

    Its body is interrupted, and within a second it enters Cancelling (whose hooks run); its
    children are cancelled with it. When the body has ended it enters Cancelled. A body that goes
    on for EVENTFLOW_CANCEL_SECONDS is given up, and its run is Crashed.

    Return True if the request was accepted; False if no run of that id is known, if it has ended,
    or if it is executed in this process and is being cancelled already.

    Raises:
        TypeError: the id is neither a UUID nor a string.
        ValueError: the id is no UUID.
    """
    if not isinstance(run_id, UUID | str):
        raise TypeError(f"A run's id is a UUID or a string, but got {run_id!r}.")
    key = run_id if isinstance(run_id, UUID) else UUID(run_id)
    accepted = cancel_here(key)
    if accepted is not None:
        return accepted

    return any(canceller(key) for canceller in tuple(_cancellers))
