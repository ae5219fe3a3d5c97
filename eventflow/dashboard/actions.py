"""What a page can ask for: to cancel a run, and to redrive deliveries."""

from __future__ import annotations

from uuid import UUID

from eventflow.client.archive import Archive
from eventflow.dashboard.views.deliveries import selected
from eventflow.dashboard.views.filters import Address
from eventflow.hooks.ledger import DeliveryStatus

__all__ = ["ask_cancel", "redrive"]


def ask_cancel(archive: Archive | None, run_id: UUID) -> str:
    """Ask for the end of a run; return what came of it."""
    if archive is None or not archive.journal.ask_cancel(run_id):
        return "There is nothing to cancel: the run has ended, or the journal does not hold it."

    return "Asked to end: its process is told within a second, and then enters Cancelling."


def redrive(archive: Archive | None, ids: list[UUID], address: Address | None) -> str:
    """Make dead deliveries pending again: these, or all that an address selects."""
    if archive is not None and address is not None:
        found = selected(archive, address)
        ids = [each.id for each in found if each.status is DeliveryStatus.DEAD]
    count = 0 if archive is None or not ids else archive.journal.redrive(ids)
    if not count:
        return "There is no dead delivery to try again."
    thing = "1 delivery is" if count == 1 else f"{count:,} deliveries are"

    return f"{thing} pending again; to have them made now: eventflow recover"
