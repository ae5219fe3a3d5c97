"""`eventflow tail`: transitions of other processes as they happen."""

from __future__ import annotations

import json
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from eventflow import settings
from eventflow.events import parse
from eventflow.journal import open_journal
from tests.cli.conftest import Invoke, Spawn
from tests.cli.story import GOES_ON, WENT_WELL, Story, live, written


def test_tail_of_a_run_ends_with_it(invoke: Invoke, told_story: Story) -> None:
    """From its first event to its last, with those of the runs that it called."""
    ended = invoke("tail", "--run", "brave-otter", "--json")
    assert ended.exit_code == 0
    events = [parse(line) for line in ended.stdout.splitlines()]
    assert {one.run_id for one in events} == {told_story.failed, *told_story.tasks}
    mine = [one.sequence for one in events if one.run_id == told_story.failed]
    assert mine == [0, 1, 2, 3, 4]


def test_only_some_states_are_shown(invoke: Invoke, told_story: Story) -> None:
    """A line each: when, which run, what, and why."""
    ended = invoke("tail", "--run", "brave-otter", "--state", "Failed")
    first, second = ended.stdout.splitlines()
    assert "✗ Failed        etl/brave-otter  ValueError: no such table" in first
    assert told_story.tasks[1].hex[-8:] in second


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_tail_shows_other_processes_live_and_ends_cleanly(
    spawn: Spawn, tmp_path: Path, signum: signal.Signals
) -> None:
    """It waits for a journal that is not there, makes none, and shows what comes, till Ctrl-C."""
    process = spawn("tail", "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    assert "yet; waiting for it." in process.stderr.readline()
    assert not (tmp_path / "home").exists()
    journal = open_journal(settings.EVENTFLOW_JOURNAL_URL.value())
    for _ in range(2):
        # The second comes when the first was seen: what is shown is shown at once.
        run = live(journal, WENT_WELL)
        lines = [json.loads(process.stdout.readline()) for _ in range(3)]
        assert {one["run_id"] for one in lines} == {str(run)}
        assert [one["sequence"] for one in lines] == [0, 1, 2]
    journal.close()
    process.send_signal(signum)
    out, err = process.communicate(timeout=30)
    assert out == ""
    if signum is signal.SIGINT:
        assert (process.returncode, err) == (0, "")


def test_tail_begins_now_unless_told_since_when(spawn: Spawn) -> None:
    """Without --since the past stays untold; with it, it comes first."""
    journal = open_journal(settings.EVENTFLOW_JOURNAL_URL.value())
    story = written(journal)
    process = spawn("tail", "--since", "2m", "--json")
    assert process.stdout is not None
    lines = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert {one["run_id"] for one in lines} == {str(story.running)}
    new = live(journal, GOES_ON)
    # It happened, by its own clock, before the time that was asked for.
    newer = live(journal, GOES_ON, ago=timedelta(0))
    line = json.loads(process.stdout.readline())
    assert line["run_id"] == str(newer) != str(new)
    journal.close()
