"""A flow to run while the journal fails, and the check that nothing of its runs is missing."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

import pytest

from eventflow import flow, task
from eventflow.eventbus.bus import bus
from eventflow.events import JournalEvent, JournalFailed
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal import open_journal
from eventflow.journal.contract import DeliveryQuery, RunQuery
from eventflow.journal.stores.sqlite import SqliteJournal
from eventflow.settings import EVENTFLOW_JOURNAL_URL
from eventflow.wiring import recorder

E = TypeVar("E", bound=JournalEvent)

TIMEOUT_SECONDS = 60
"""How long a test waits for another thread or process before it fails."""

CALLS = 4
"""How many hooks one run of the flow calls, its task's included."""


class Workload:
    """A flow and its task, both with hooks, and the events of the journal that were published."""

    def __init__(self) -> None:
        self.hook_calls: list[UUID] = []
        self.events: list[JournalEvent] = []
        self._during: Callable[[], object] = lambda: None
        self._published = threading.Condition()
        self._runs = 0
        bus.subscribe(self._append, event_type=JournalEvent)

        @task(on_running=[self._hook], on_completion=[self._hook])
        def step(number: int) -> int:
            self._during()
            return number * 2

        @flow(on_running=[self._hook], on_completion=[self._hook])
        def etl(number: int) -> int:
            return step(number)

        self._etl = etl

    def _hook(self, definition: Any, run: Any, state: Any) -> None:
        self.hook_calls.append(state.id)

    def _append(self, event: JournalEvent) -> None:
        with self._published:
            self.events.append(event)
            self._published.notify_all()

    def run(self, count: int = 1, *, during: Callable[[], object] = lambda: None) -> None:
        """Run the flow `count` times, and call `during` in the first task body."""
        self._during = during
        for number in range(count):
            assert self._etl(number) == number * 2
            self._during = lambda: None
        self._runs += count

    def wait_for(self, kind: type[E]) -> E:
        """Return the first event of this kind, as soon as there is one."""
        with self._published:
            assert self._published.wait_for(lambda: self.first(kind) is not None, TIMEOUT_SECONDS)
            event = self.first(kind)
        assert event is not None

        return event

    def first(self, kind: type[E]) -> E | None:
        """Return the first event of this kind, if there is one."""
        return next((event for event in self.events if isinstance(event, kind)), None)

    def flush(self) -> None:
        """Wait until all records are committed."""
        own = recorder()
        assert own is not None
        assert own.flush()

    def assert_journalled(self, *, but_first: int = 0) -> None:
        """Assert that every run is in the journal, but for the first so many that were deleted."""
        self.flush()
        journal = open_journal(EVENTFLOW_JOURNAL_URL.value())
        runs = journal.runs(RunQuery(limit=10**6))
        deliveries = journal.deliveries(DeliveryQuery(limit=10**6))
        calls = self.hook_calls[CALLS * but_first :]
        assert [run.state_name for run in runs] == ["Completed"] * (2 * (self._runs - but_first))
        assert {delivery.status for delivery in deliveries} == {DeliveryStatus.DELIVERED}
        assert sorted(delivery.event_id for delivery in deliveries) == sorted(calls)
        assert len(self.hook_calls) == CALLS * self._runs
        findings = journal.verify()
        assert findings == [], findings
        assert [event.lost for event in self.events if event.lost] == []
        journal.close()


def assert_logged(caplog: pytest.LogCaptureFixture, failed: JournalFailed) -> None:
    """Assert that the log has one warning of the outage, and one line for its end."""
    messages = [
        record.getMessage() for record in caplog.records if record.levelname in {"WARNING", "ERROR"}
    ]
    # The heartbeat and other work of the owner may log an error of their own, and nothing else:
    # of one full disk SQLite says that it is full, or that it cannot be written.
    own = re.compile(r"The journal .* cannot be used: [^.]*\.")
    told = [text for text in messages if text != failed.error.message and not own.fullmatch(text)]
    assert told == [
        f"{failed.error.message} The runs go on; what happens is kept until then.",
        "The journal can be written again.",
    ]


def own_journal() -> SqliteJournal:
    """Return the journal that this process writes to."""
    own = recorder()
    assert own is not None
    assert isinstance(own.journal, SqliteJournal)

    return own.journal
