"""What is told of a run in a file: all that the journal knows, read by a few queries."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from eventflow.client.archive import Archive, RunTransition
from eventflow.client.records import DeliveryRecord, LogRecord, RunRecord
from eventflow.client.run_logs import RunLogs
from eventflow.dashboard.timeline.folding import Timeline, timeline_of
from eventflow.journal.contract import DeliveryQuery
from eventflow.journal.rows import OwnerRow
from eventflow.states.records import ErrorInfo

__all__ = ["Story", "story_of", "timeline_in"]

NO_LIMIT: Final = 2**31

LINES: Final = 10_000
"""Beyond how many lines what was logged in other runs is passed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A run: its record, events and deliveries, the process that executed it, and its timeline.

    `logs` is what was logged in it and in what it called, or, where that is too much, in it alone;
    `more_logs` is how many lines of the others were passed over.
    """

    run: RunRecord
    events: Sequence[RunTransition]
    deliveries: Sequence[DeliveryRecord]
    logs: Sequence[LogRecord]
    more_logs: int
    owner: OwnerRow | None
    timeline: Timeline
    now: datetime

    @property
    def error(self) -> ErrorInfo | None:
        """The error of the present state."""
        return self.events[-1].to_state.error if self.events else None

    @property
    def cause(self) -> str | None:
        """Why it is in its present state, unless that is Completed."""
        if self.run.state.is_completed():
            return None

        return str(self.error) if self.error is not None else self.run.state.message


def timeline_in(
    archive: Archive,
    run_id: UUID,
    now: datetime,
    opened: Collection[int] = (),
    limit: int = NO_LIMIT,
) -> Timeline:
    """Read the timeline of a run that the journal has, with these groups open.

    Of more runs than `limit` the others are counted, and not read.
    """
    runs = archive.journal.tree(run_id, limit)
    tallied = archive.journal.tally_tree(run_id) if len(runs) >= limit else ()

    return timeline_of(run_id, runs, now, opened, tallied)


def story_of(archive: Archive, run: RunRecord, now: datetime) -> Story:
    """Read what the journal knows of a run."""
    owners = (owner for owner in archive.journal.owners() if owner.id == run.owner)
    logged = archive.journal.logged(run.id)
    own = sum(logged.values()) > LINES

    return Story(
        run=run,
        events=archive.events(run.id),
        deliveries=archive.deliveries(DeliveryQuery(run_id=run.id, limit=NO_LIMIT)),
        logs=[*RunLogs(archive, run.id, own=own).lines()],
        more_logs=sum(logged.values()) - logged.get(run.id, 0) if own else 0,
        owner=next(owners, None),
        timeline=timeline_in(archive, run.id, now),
        now=now,
    )
