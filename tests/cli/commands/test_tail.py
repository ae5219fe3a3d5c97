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
from tests.cli.sample_journal import COMPLETED, RUNNING, Sample, fill, record_run


def test_tail_of_a_run_ends_with_it(invoke: Invoke, sample: Sample) -> None:
    """From its first event to its last, with those of the runs that it called."""
    result = invoke("tail", "--run", "brave-otter", "--json")
    assert result.exit_code == 0
    events = [parse(line) for line in result.stdout.splitlines()]
    assert {event.run_id for event in events} == {sample.failed, *sample.tasks}
    own = [event.sequence for event in events if event.run_id == sample.failed]
    assert own == [0, 1, 2, 3, 4]


def test_only_some_states_are_shown(invoke: Invoke, sample: Sample) -> None:
    """A line each: time, run, state, and error."""
    result = invoke("tail", "--run", "brave-otter", "--state", "Failed")
    first, second = result.stdout.splitlines()
    assert "✗ Failed        etl/brave-otter  ValueError: no such table" in first
    assert sample.tasks[1].hex[-8:] in second


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_tail_shows_other_processes_live_and_ends_cleanly(
    spawn: Spawn, tmp_path: Path, signum: signal.Signals
) -> None:
    """It waits for a journal, makes none, and shows what is committed, until Ctrl-C."""
    process = spawn("tail", "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    assert "yet; waiting for it." in process.stderr.readline()
    assert not (tmp_path / "home").exists()
    journal = open_journal(settings.EVENTFLOW_JOURNAL_URL.value())
    for _ in range(2):
        # The second is written once the first is read: each is shown at once.
        run = record_run(journal, COMPLETED)
        lines = [json.loads(process.stdout.readline()) for _ in range(3)]
        assert {line["run_id"] for line in lines} == {str(run)}
        assert [line["sequence"] for line in lines] == [0, 1, 2]
    journal.close()
    process.send_signal(signum)
    out, err = process.communicate(timeout=30)
    assert out == ""
    if signum is signal.SIGINT:
        assert (process.returncode, err) == (0, "")


def test_tail_begins_now_by_default(spawn: Spawn) -> None:
    """With --since it begins with past events."""
    journal = open_journal(settings.EVENTFLOW_JOURNAL_URL.value())
    sample = fill(journal)
    process = spawn("tail", "--since", "2m", "--json")
    assert process.stdout is not None
    lines = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert {line["run_id"] for line in lines} == {str(sample.running)}
    new = record_run(journal, RUNNING)
    # By its own clock it happened before the given time.
    newer = record_run(journal, RUNNING, ago=timedelta(0))
    line = json.loads(process.stdout.readline())
    assert line["run_id"] == str(newer) != str(new)
    journal.close()
