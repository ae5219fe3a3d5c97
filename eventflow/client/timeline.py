"""What happened since a moment in the order of time, read from the runs, and then from the feed.

The feed of a journal is kept for an hour, and has users' own events; runs are kept much longer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush, merge
from itertools import chain
from typing import Final, TypeAlias
from uuid import UUID

from eventflow.client.archive import EARLIEST, Archive, History, RunTransition
from eventflow.journal.contract import START, Cursor
from eventflow.journal.rows import EventRow, OwnEvent

__all__ = ["Happening", "Timeline", "past_of", "past_within"]

Happening: TypeAlias = RunTransition | OwnEvent
"""A transition, or a user's own event."""

CHUNK: Final = 500
"""How many events of the feed are read at a time."""

RECENT: Final = timedelta(minutes=10)
"""How old a transition is at least before it is taken for granted that the feed had it long ago."""

SHOWN: Final = 10_000
"""How many events are remembered, so that none is shown twice."""


def past_of(
    archive: Archive, since: datetime | None = None, until: datetime | None = None
) -> Iterator[RunTransition]:
    """Yield the transitions of all runs between two moments, in the order of time."""
    for event in _in_order(_batches(archive, since or EARLIEST, until)):
        if until is None or event.occurred <= until:
            yield event


def past_within(archive: Archive, run_id: UUID) -> Iterator[RunTransition]:
    """Yield the transitions of a run and of all that it called, in the order of time."""
    return _in_order([archive.tree(run_id)])


def _batches(
    archive: Archive, since: datetime, until: datetime | None = None
) -> Iterator[list[History]]:
    batch = archive.histories(since, None)
    while batch and (until is None or batch[0][0].created <= until):
        yield batch
        batch = archive.histories(since, batch[-1][0].id)


def _in_order(batches: Iterable[list[History]]) -> Iterator[RunTransition]:
    """Yield the transitions of runs, which come in the order of their ids, in the order of time.

    No run has a transition before its creation. So only those wait that came after the creation of
    a later run.
    """
    waiting: list[tuple[datetime, UUID, int, RunTransition]] = []
    for run, events in chain.from_iterable(batches):
        while waiting and waiting[0][0] <= run.created:
            yield heappop(waiting)[-1]
        at = run.created
        for event in events:
            # The clock may have been set back: the events of a run stay in their order.
            at = max(at, event.occurred)
            heappush(waiting, (at, run.id, event.sequence, event))
    while waiting:
        yield heappop(waiting)[-1]


class Timeline:
    """Yields what happened since a moment, and then what happens: each transition once.

    Of all runs, with users' own events as long as the feed keeps these; or of one run and of all
    that it called. Without a moment it begins now. If the feed keeps all since the moment, it comes
    in the order of commits, otherwise at first in the order of time.
    """

    def __init__(
        self, archive: Archive, since: datetime | None = None, run_id: UUID | None = None
    ) -> None:
        journal = archive.journal
        self._archive = archive
        self._since = since
        self._run_id = run_id
        self._is_past = since is not None and not journal.keeps(since)
        self.cursor: Cursor = journal.cursor(None if self._is_past else since)
        """How far the feed was read."""
        # The last transitions that were read from the runs and may come once more.
        self._last: dict[UUID, int] = {}
        # The last events of the feed, of which a commit that was repeated has some twice.
        self._shown: OrderedDict[UUID, None] = OrderedDict()

    def events(self) -> Iterator[Happening]:
        """Yield what has happened by now and was not yielded yet."""
        if self._is_past:
            self._is_past = False
            yield from self._past(self._since or EARLIEST)
        while True:
            chunk, after = self._archive.events_after(self.cursor, CHUNK)
            yield from filter(self._is_new, chunk)
            if after == self.cursor:
                return
            self.cursor = after

    def _is_new(self, event: Happening) -> bool:
        if self._since is not None and event.occurred < self._since:
            return False
        if not self._is_selected(event) or event.id in self._shown:
            return False
        self._note(event)

        return True

    def _is_selected(self, event: Happening) -> bool:
        if isinstance(event, OwnEvent):
            return self._run_id is None
        if event.sequence <= self._last.get(event.run_id, -1):
            return False

        return self._run_id is None or self._archive.within(event.run_id, self._run_id)

    def _note(self, event: Happening) -> None:
        self._shown[event.id] = None
        if len(self._shown) > SHOWN:
            self._shown.popitem(last=False)

    def _past(self, since: datetime) -> Iterator[Happening]:
        if self._run_id is not None:
            return _in_order(self._noted([self._archive.tree(self._run_id)]))
        runs: Iterator[Happening] = _in_order(self._noted(_batches(self._archive, since)))

        return merge(runs, self._own_events(), key=lambda event: event.occurred)

    def _noted(self, batches: Iterable[list[History]]) -> Iterator[list[History]]:
        """Note which of the transitions that were read from the runs come in the feed as well."""
        committed: set[UUID] = set()
        cursor: Cursor = self.cursor
        before: Cursor | None = None
        # PostgreSQL shows what was committed during an older transaction after that has ended.
        recent = datetime.now(UTC) - RECENT
        for batch in batches:
            # Later than the batch: what is not there yet is not in the batch either.
            while before != cursor:
                before = cursor
                rows, cursor = self._archive.journal.events_after(cursor, CHUNK)
                committed.update(row.run_id for row in rows if isinstance(row, EventRow))
            for run, events in batch:
                if events and (run.id in committed or events[-1].occurred >= recent):
                    self._last[run.id] = events[-1].sequence
            before = None
            yield batch

    def _own_events(self) -> Iterator[OwnEvent]:
        """Yield users' own events up to the cursor."""
        cursor, end = START, self.cursor
        while cursor < end:
            chunk, after = self._archive.journal.events_after(cursor, CHUNK)
            for event in chunk:
                if isinstance(event, OwnEvent) and self._is_new(event):
                    yield event
            if after == cursor:
                return
            cursor = after
