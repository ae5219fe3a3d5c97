"""A story is all that the journal knows of a run, read by a few queries."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from eventflow.client.archive import Archive
from eventflow.dashboard.export import story as story_module
from eventflow.dashboard.export.story import Story, story_of, timeline_in
from tests.cli.sample_journal import COMPLETED, OWNER, Sample, record_run
from tests.journal.logged import line
from tests.journal.rows import AT, ARun, commit


def told(archive: Archive, run_id: Any) -> Story:
    run = archive.run(run_id)
    assert run is not None

    return story_of(archive, run, datetime.now(UTC))


def test_a_story_has_all_that_is_known(archive: Archive, sample: Sample) -> None:
    story = told(archive, sample.failed)

    assert [event.to_state.name for event in story.events] == [
        *("Pending", "Running", "AwaitingRetry", "Retrying", "Failed")
    ]
    assert [each.hook for each in story.deliveries] == [
        *("alerts:begun", "alerts:page", "alerts:<lambda>")
    ]
    assert story.timeline.count == 1 + len(sample.tasks)
    assert story.owner is not None
    assert story.owner.host == "host-1"
    assert story.error is not None
    assert story.cause == "ValueError: no such table"


def test_a_run_that_is_well_has_no_cause(archive: Archive, sample: Sample) -> None:
    assert told(archive, sample.old).cause is None
    assert told(archive, sample.running).cause is None


def test_what_was_logged_is_there_with_that_of_the_runs_it_called(
    archive: Archive, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of time; of too many lines those of the run itself, and the others counted."""
    run, task = (ARun(id=key.int) for key in (sample.failed, sample.tasks[0]))
    logged = [line(task, "second", at=AT + 1), line(run, "first", at=AT), line(run, "third")]
    commit(sample.journal, *logged, owner=OWNER)
    story = told(archive, sample.failed)
    monkeypatch.setattr(story_module, "LINES", 2)
    few = told(archive, sample.failed)

    assert [each.message for each in story.logs] == ["first", "third", "second"]
    assert story.more_logs == 0
    assert [each.message for each in few.logs] == ["first", "third"]
    assert few.more_logs == 1


def test_the_number_of_queries_does_not_grow_with_the_runs(
    archive: Archive, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []
    journal = type(sample.journal)
    read = journal.read  # type: ignore[attr-defined]

    def counting(*arguments: Any) -> Any:
        counted.append("read")
        return read(*arguments)

    monkeypatch.setattr(journal, "read", counting)
    timeline_in(archive, sample.failed, datetime.now(UTC))
    few = len(counted)
    for _ in range(20):
        record_run(sample.journal, COMPLETED, parent=sample.failed)
    counted.clear()
    timeline = timeline_in(archive, sample.failed, datetime.now(UTC))

    assert timeline.count == 23
    assert len(counted) == few == 1
