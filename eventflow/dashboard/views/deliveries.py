"""The page of deliveries: what hooks are owed, failed or dead, by hook and by error."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any, Final

from eventflow.client.archive import Archive
from eventflow.dashboard.views.filters import Address
from eventflow.dashboard.views.page import Page
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import DeliveryQuery
from eventflow.journal.rows import DeliveryRow, error_of

__all__ = ["KNOWN", "deliveries_page", "query_of"]

KNOWN: Final = ("status", "hook", "error", "run")
"""What the address of this page may ask for."""

SHOWN: Final = 100
"""How many deliveries are shown."""

MOST: Final = 2**31

LEFT: Final = tuple(status for status in DeliveryStatus if status is not DeliveryStatus.DELIVERED)


def deliveries_page(archive: Archive | None, address: Address) -> Page:
    """Return the page of the deliveries that the address selects: by default, what is left."""
    found = [] if archive is None else selected(archive, address)
    now = datetime.now(UTC)
    values: dict[str, Any] = {
        "address": address,
        "deliveries": [] if archive is None else archive.with_runs(found[:SHOWN]),
        "count": len(found),
        "shown": SHOWN,
        "by_status": Counter(str(each.status) for each in found),
        "by_hook": Counter(each.hook for each in found).most_common(12),
        "by_error": Counter(kind for each in found if (kind := kind_of(each))).most_common(12),
        "dead": sum(each.status is DeliveryStatus.DEAD for each in found),
        "statuses": list(DeliveryStatus),
        "has_journal": archive is not None,
        "is_filtered": bool(address.values),
        "now": now,
    }

    return Page(
        template="deliveries.html", part="deliveries_part.html", title="Deliveries", values=values
    )


def query_of(address: Address) -> DeliveryQuery:
    """Return the query of an address."""
    statuses = tuple(address.statuses()) or LEFT
    # What was delivered is almost everything: of that, the newest.
    limit = SHOWN + 1 if DeliveryStatus.DELIVERED in statuses else MOST

    return DeliveryQuery(
        statuses=statuses,
        hook=address.one("hook"),
        run_id=address.id("run"),
        newest=True,
        limit=limit,
    )


def selected(archive: Archive, address: Address) -> list[DeliveryRow]:
    """Return the deliveries that an address selects, newest first."""
    found, error = archive.journal.deliveries(query_of(address)), address.one("error")

    return [each for each in found if error is None or kind_of(each) == error]


def kind_of(delivery: DeliveryRow) -> str | None:
    """Return the class of a delivery's last error."""
    error = error_of(delivery.error)
    if error is None:
        return None

    return error.partition(":")[0] if isinstance(error, str) else error.type
