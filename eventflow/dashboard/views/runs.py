"""The page of runs: the newest first, by state, name, tag, text, time or parent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from eventflow.client.archive import Archive
from eventflow.client.records import RunRecord
from eventflow.dashboard.views.filters import Address
from eventflow.dashboard.views.page import Page
from eventflow.dashboard.views.strips import strips_of
from eventflow.dashboard.views.tallies import Tallies
from eventflow.journal.contract import RunQuery
from eventflow.journal.rows import RunRow
from eventflow.states import StateType

__all__ = ["KNOWN", "runs_page"]

KNOWN: Final = (
    *("state", "flow", "tag", "text", "since", "until", "parent", "type", "order", "before"),
)
"""What the address of this page may ask for."""

SHOWN: Final = 50
"""How many runs are shown at a time."""

FAILING: Final = 5
"""Of how many hooks that fail the first page tells."""

KINDS: Final = (
    *(StateType.FAILED, StateType.CRASHED, StateType.RUNNING, StateType.COMPLETED),
    *(StateType.PENDING, StateType.SCHEDULED, StateType.PAUSED),
    *(StateType.CANCELLING, StateType.CANCELLED),
)
"""The types of states, in the order in which they are offered."""

SEARCHED: Final = 100_000
"""How many runs are searched for a text at a time: more would take longer than a page may."""

UNHAPPY: Final = (StateType.FAILED, StateType.CRASHED)
OTHERS: Final = tuple(kind for kind in StateType if kind not in UNHAPPY)


def runs_page(
    archive: Archive | None, address: Address, tallies: Tallies, *, may_wait: bool
) -> Page:
    """Return the page of the runs that the address selects.

    Without counts if these take long and the page may not wait for them.
    """
    query, now = _query(address), datetime.now(UTC)
    last, query = (None, query) if archive is None else _bounded(archive, query)
    found = [] if archive is None else _found(archive, query, failed_first=_failed_first(address))
    everything = replace(query, after=None)
    shown = found[:SHOWN]
    flows = [run.definition_name for run in shown if run.run_type == "flow"]
    values: dict[str, Any] = {
        "counts": None if archive is None else tallies.of(archive, everything, may_wait=may_wait),
        "strips": [] if archive is None else strips_of(archive, flows, now),
        "failing": [] if archive is None else archive.journal.failed_by_hook()[:FAILING],
        "address": address,
        "runs": shown,
        "more": address.with_(before=shown[-1].id) if len(found) > SHOWN else None,
        "searched": None if len(found) > SHOWN else last,
        "searched_count": SEARCHED,
        "has_journal": archive is not None,
        "is_filtered": bool(address.values),
        "failed_first": _failed_first(address),
        "kinds": KINDS,
        "now": now,
        "parent": None if archive is None else _parent(archive, query),
    }

    return Page(template="runs.html", part="runs_part.html", title="Runs", values=values)


def _query(address: Address) -> RunQuery:
    flow, run_type, parent = address.one("flow"), address.one("type"), address.id("parent")

    return RunQuery(
        run_type="task" if run_type == "task" else "flow" if run_type == "flow" else None,
        state_types=address.states(),
        definition=flow,
        tags=address.all("tag"),
        text=address.one("text"),
        since=address.moment("since"),
        until=address.moment("until"),
        before=address.id("before"),
        parent_run_id=parent,
        top=parent is None and run_type is None,
        limit=SHOWN + 1,
    )


def _bounded(archive: Archive, query: RunQuery) -> tuple[RunRow | None, RunQuery]:
    """Bound a search for a text to as many runs as a page has time for; return the last of them.

    None if it searches all.
    """
    if query.text is None:
        return None, query
    among = RunQuery(
        top=query.top,
        parent_run_id=query.parent_run_id,
        since=query.since,
        until=query.until,
        before=query.before,
        skip=SEARCHED - 1,
        limit=2,
    )
    match archive.journal.runs(among):
        case [last, beyond]:
            return last, replace(query, after=beyond.id)
        case _:
            return None, query


def _failed_first(address: Address) -> bool:
    return address.one("order") == "failed"


def _found(archive: Archive, query: RunQuery, *, failed_first: bool) -> Sequence[RunRecord]:
    if not failed_first or query.state_types:
        return archive.runs(query)
    found = archive.runs(replace(query, state_types=UNHAPPY))
    rest = replace(query, state_types=OTHERS, limit=SHOWN + 1 - len(found))

    return found if len(found) > SHOWN else [*found, *archive.runs(rest)]


def _parent(archive: Archive, query: RunQuery) -> RunRecord | None:
    return None if query.parent_run_id is None else archive.run(query.parent_run_id)
