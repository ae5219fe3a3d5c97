"""Cancelling a run by its id."""

from __future__ import annotations

from uuid import UUID

from eventflow.control import Reason, live

__all__ = ["cancel"]


def cancel(run_id: UUID | str) -> bool:
    """Ask for the cancellation of a run that is being executed in this process.

    Its body is interrupted, it enters Cancelling (whose hooks run), its children are cancelled
    with it, and then it enters Cancelled. Gives False if the run is not being executed here, or
    was asked already.

    Raises:
        ValueError: the id is no UUID.
    """
    control = live.get((run_id if isinstance(run_id, UUID) else UUID(run_id)).int)

    return control is not None and control.stop(Reason.CANCELLED)
