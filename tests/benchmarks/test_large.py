"""The large journals are sound, and every query of the benchmarks has a result in them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.archives import OWNER, build
from benchmarks.large import QUESTIONS
from eventflow.client.archive import Archive
from eventflow.journal.contract import RunQuery
from eventflow.journal.stores.sqlite import SqliteJournal
from eventflow.states import StateType


def test_a_built_journal_is_one_that_eventflow_could_have_written(tmp_path: Path) -> None:
    with closing(SqliteJournal(build(tmp_path, 6_000))) as journal:
        assert journal.verify() == []
        statistics = journal.statistics()
        assert (statistics.runs, statistics.events, statistics.unfinished) == (2_000, 6_000, 0)
        assert statistics.deliveries == {"delivered": 19}
        assert [owner.ended is not None for owner in journal.owners()] == [True]
        assert journal.owners()[0].id == OWNER


def test_its_last_flow_has_a_tenth_of_all_runs(tmp_path: Path) -> None:
    with closing(SqliteJournal(build(tmp_path, 6_000))) as journal:
        last, before, *_ = journal.runs(RunQuery(top=True))
        assert len(journal.runs(RunQuery(parent_run_id=last.id, limit=1_000))) == 199
        assert len(journal.runs(RunQuery(parent_run_id=before.id, limit=1_000))) == 99


def test_one_run_in_a_thousand_failed_and_its_events_say_so(tmp_path: Path) -> None:
    with closing(SqliteJournal(build(tmp_path, 6_000))) as journal:
        failed = journal.runs(RunQuery(state_types=[StateType.FAILED]))
        assert len(failed) == 2
        names = [event.to_state.name for event in Archive(journal).events(failed[0].id)]
        assert names == ["Pending", "Running", "Failed"]


@pytest.mark.parametrize("name", QUESTIONS)
def test_each_query_has_a_result(name: str, tmp_path: Path) -> None:
    _, question = QUESTIONS[name]
    with closing(SqliteJournal(build(tmp_path, 300))) as journal:
        assert question(journal) is not None
