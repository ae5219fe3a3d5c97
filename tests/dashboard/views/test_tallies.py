"""Counts are exact; a page that may not wait is shown without those that take long."""

from __future__ import annotations

from eventflow.client.archive import Archive
from eventflow.dashboard.views import tallies
from eventflow.dashboard.views.tallies import Tallies
from eventflow.journal.contract import RunQuery
from eventflow.states import StateType
from tests.cli.sample_journal import COMPLETED, Sample, record_run

QUERY = RunQuery(top=True, limit=10)


def test_counts_are_those_of_the_whole_filter(sample: Sample) -> None:
    counts = Tallies().of(Archive(sample.journal), QUERY, may_wait=False)
    assert counts == {StateType.COMPLETED: 1, StateType.FAILED: 1, StateType.RUNNING: 1}


class Clock:
    """A clock that goes on by so many seconds whenever it is read."""

    def __init__(self) -> None:
        self.now = 0.0
        self.step = 5.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def test_a_page_does_not_wait_for_what_took_long(sample: Sample) -> None:
    """Whoever may wait has them counted, and then everybody has them, for a while."""
    clock = Clock()
    archive, counted = Archive(sample.journal), Tallies(clock)
    assert counted.of(archive, QUERY, may_wait=True) is not None
    record_run(sample.journal, COMPLETED, run_type="flow")
    before = counted.of(archive, QUERY, may_wait=False)
    assert before is not None
    assert before[StateType.COMPLETED] == 1
    clock.now += clock.step * tallies.SHARE
    assert counted.of(archive, QUERY, may_wait=False) is None
    after = counted.of(archive, QUERY, may_wait=True)
    assert after is not None
    assert after[StateType.COMPLETED] == 2
