"""The page of one run: what became of it and why, its events, hooks, parameters and tree."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

from markupsafe import Markup

from eventflow.client.archive import Archive, RunTransition
from eventflow.client.records import DeliveryRecord, LogRecord, RunRecord
from eventflow.client.run_logs import RunLogs
from eventflow.dashboard.export.story import timeline_in
from eventflow.dashboard.rendering import page_of
from eventflow.dashboard.timeline.drawing import GROUP
from eventflow.dashboard.timeline.rendering import timeline_html
from eventflow.dashboard.views.explained import explain, explain_listeners
from eventflow.dashboard.views.filters import Address
from eventflow.dashboard.views.page import Page, not_found
from eventflow.dashboard.views.story import story_of
from eventflow.hooks.ledger import OWED, DeliveryStatus
from eventflow.journal.contract import DeliveryQuery, RunQuery

__all__ = ["KNOWN", "run_page"]

KNOWN: Final = ("open",)
"""What the address of this page may ask for: groups of its timeline to be open, by their keys."""

CHILDREN: Final = 100
"""How many of the runs that it called are listed."""

FAILURES: Final = 20
"""How many of the runs below it that failed are listed."""

DRAWN_AT_ONCE: Final = 1_000
"""From how many runs on that it called the page is shown before its timeline is drawn, and before
their lines are read."""

READ: Final = 20_000
"""How many of the runs that it called are read for its timeline; beyond that they are counted."""

LINES: Final = 500
"""How many of its last lines are shown."""

LINES_READ: Final = 5_000
"""From how many lines on only those of the run itself are read."""

DELIVERIES: Final = 500


def run_page(
    archive: Archive | None, address: Address, run_type: str, run_id: UUID, *, may_wait: bool = True
) -> Page:
    """Return the page of a run; without its timeline if that takes long and it may not wait."""
    run = None if archive is None else archive.run(run_id)
    if archive is None or run is None or run.run_type != run_type:
        return not_found(f"The journal holds no {run_type} run {run_id}.")
    events = archive.events(run_id)
    deliveries = archive.deliveries(DeliveryQuery(run_id=run_id, limit=DELIVERIES))
    now = datetime.now(UTC)
    children = archive.runs(RunQuery(parent_run_id=run_id, limit=CHILDREN))
    beyond = RunQuery(parent_run_id=run_id, skip=DRAWN_AT_ONCE, limit=1)
    at_once = may_wait or not archive.journal.runs(beyond)
    opened = [number for key in address.all("open") if (number := _number_of(key)) is not None]
    timeline = timeline_in(archive, run_id, now, opened, READ) if at_once else None
    failures = () if timeline is None else timeline.failures
    values: dict[str, Any] = {
        "address": address,
        "run": run,
        "events": events,
        "deliveries": deliveries,
        # Escaped by its own template.
        "timeline": timeline
        and Markup(timeline_html(timeline, page_of, partial(_toggled, address))),  # noqa: S704
        "drawn_at_once": DRAWN_AT_ONCE,
        "failed": failures[:FAILURES],
        "more_failed": (timeline.failed if timeline else 0) - len(failures[:FAILURES]),
        # To look through what was logged in so many runs takes as long as to count them.
        "lines": _logs(archive, run_id, own=timeline is None or bool(timeline.rests)),
        "children": children[::-1],
        "limit": CHILDREN,
        **_explained(archive, run_id, events, deliveries),
        "dead": sum(each.status is DeliveryStatus.DEAD for each in deliveries),
        "ancestors": _ancestors(archive, run),
        "story": story_of(archive, run, events),
        "now": now,
    }
    settled = run.is_finished and not any(each.status in OWED for each in deliveries)

    return Page(
        template="run.html",
        part="run_part.html",
        title=f"{run.definition_name}/{run.name}",
        values=values,
        run_id=run_id,
        settled=settled,
    )


def _number_of(key: str) -> int | None:
    """Return the number of a group's first run, from its key; None if it is none."""
    try:
        return UUID(key.removeprefix(GROUP)).int
    except ValueError:
        return None


def _toggled(address: Address, key: str, _is_open: bool) -> str:  # noqa: FBT001 - see PageOfGroup
    """Return the address at which a group is open, or closed if it is open now."""
    return f"{address.toggled('open', key)}#tl-{key}"


def _explained(
    archive: Archive,
    run_id: UUID,
    events: Sequence[RunTransition],
    deliveries: Sequence[DeliveryRecord],
) -> dict[str, Any]:
    """Return why each hook was called and each listener told, or why not."""
    row = archive.journal.run(run_id)
    if row is None:
        return {"hooks": [], "listeners": []}

    return {
        "hooks": explain(archive, row, events, deliveries),
        "listeners": explain_listeners(archive, row, events),
    }


def _logs(archive: Archive, run_id: UUID, *, own: bool) -> list[LogRecord]:
    """Return the last lines of a run, with those of what it called, unless these are very many."""
    own = own or sum(archive.journal.logged(run_id).values()) > LINES_READ
    lines = RunLogs(archive, run_id, own=own).lines()

    return [*deque(lines, maxlen=LINES)]


def _ancestors(archive: Archive, run: RunRecord) -> list[RunRecord]:
    """Return the runs above a run, the outermost first."""
    found: list[RunRecord] = []
    above = run.parent_run_id
    while above is not None and len(found) < CHILDREN:
        parent = archive.run(above)
        if parent is None:
            break
        found.append(parent)
        above = parent.parent_run_id

    return found[::-1]
