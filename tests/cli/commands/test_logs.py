"""`eventflow logs`: what was logged in a run, and what is logged while it is followed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eventflow.journal.stores import writing
from tests.cli.conftest import Invoke, Spawn
from tests.cli.sample_journal import OWNER, Sample
from tests.journal.logged import line, lines
from tests.journal.rows import AT, SECOND, ARun, commit


def test_lines_of_a_run_and_of_what_it_called(invoke: Invoke, sample: Sample) -> None:
    """Time, level, run, logger and message of each; a traceback is below it."""
    failed, task = ARun(id=sample.failed.int), ARun(id=sample.tasks[1].int)
    error = "Traceback\nValueError: no"
    commit(sample.journal, line(failed, "begin", logger="eventflow.flow_runs"), owner=OWNER)
    bad = line(task, "bad\nrow", at=AT + SECOND, level=40, logger="etl.io", error=error)
    commit(sample.journal, bad, owner=OWNER)

    result = invoke("logs", "brave-otter")

    assert result.exit_code == 0
    first, second, *below = result.stdout.splitlines()
    assert first.endswith(".000  INFO      etl/brave-otter  begin")
    assert second.endswith(".000  ERROR     extract/calm-bee  [etl.io] bad")
    assert below == ["  row", "  Traceback", "  ValueError: no"]
    own = invoke("logs", sample.failed.hex[-8:], "--own").stdout
    assert own.splitlines()[0].endswith(".000  INFO      begin")
    assert len(own.splitlines()) == 1
    assert "begin" not in invoke("logs", "brave-otter", "--level", "warning").stdout


def test_lines_as_json(invoke: Invoke, sample: Sample) -> None:
    """A document for each."""
    commit(sample.journal, lines(ARun(id=sample.failed.int), "a", "b\u202e"), owner=OWNER)

    result = invoke("logs", "brave-otter", "--json")

    first, second = map(json.loads, result.stdout.splitlines())
    assert first == {
        "run_id": str(sample.failed),
        "sequence": 1,
        "timestamp": "2026-03-01T12:00:00Z",
        "level": 20,
        "logger": "lib",
        "message": "a",
        "traceback": None,
        "left_out": 0,
    }
    assert second["message"] == "b\u202e"


def test_what_is_left_out_is_said(
    invoke: Invoke, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is, and at the end, also if nothing else is left."""
    monkeypatch.setattr(writing, "FIRST_LINES", 1)
    monkeypatch.setattr(writing, "LAST_LINES", 1)
    commit(sample.journal, lines(ARun(id=sample.failed.int), *range(1_203)), owner=OWNER)

    first, left_out, last = invoke("logs", "brave-otter", "--own").stdout.splitlines()

    assert (first[-3:], last[-6:]) == ("] 0", "] 1202")
    assert left_out == "… 1,201 lines left out …"
    sample.journal.transact(  # type: ignore[attr-defined]
        lambda session: writing.trim_lines(session, 0)
    )
    result = invoke("logs", "brave-otter", "--own")
    assert result.stdout == "… 1,203 lines left out …\n"


def test_hostile_lines_are_shown_escaped(invoke: Invoke, sample: Sample) -> None:
    """None begins a line of its own, or acts on the terminal."""
    run = ARun(id=sample.failed.int)
    hostile = "\x1b]0;x\x07\r\u2028[bold]"
    commit(sample.journal, line(run, hostile, logger=hostile, error=hostile), owner=OWNER)

    shown = invoke("logs", "brave-otter", "--own").stdout

    assert "\x1b" not in shown
    first, *below = shown.splitlines()
    assert first.endswith("\\x1b]0;x\\u2028[bold]")
    assert below
    assert all(each.startswith("  ") for each in below)


def test_a_run_that_has_logged_nothing(invoke: Invoke, sample: Sample) -> None:
    """That is said; a run that is not known is an error."""
    result = invoke("logs", "brave-otter")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "Nothing of what brave-otter has logged is in the journal." in result.stderr
    assert invoke("logs", "brave-otter", "--json").output == ""
    assert invoke("logs", "no-such").exit_code == 2


FOLLOWED = """
import logging, os, sys
from eventflow import flow, task

log = logging.getLogger("etl")

@task
def step(number):
    log.warning("step %d", number)

def told(flow, run, state):
    input()
    log.warning("hook")

@flow(flow_run_name="followed", on_completion=[told])
def etl():
    log.warning("begin")
    print("ready", flush=True)
    for number in range(3):
        input()
        step(number)

etl()
"""


def test_lines_of_another_process_as_they_come(spawn: Spawn, tmp_path: Path) -> None:
    """To the end of the run and of its hooks, which log as well."""
    process = subprocess.Popen(
        [sys.executable, "-c", FOLLOWED],
        cwd=tmp_path,
        env={**os.environ, "EVENTFLOW_GUARDIAN": "false"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        # The run is in the journal once its first line is.
        follower = spawn("logs", "followed", "--follow", "--json")
        assert follower.stdout is not None
        assert json.loads(follower.stdout.readline())["message"] == "begin"
        for number in range(3):
            process.stdin.write("\n")
            process.stdin.flush()
            assert json.loads(follower.stdout.readline())["message"] == f"step {number}"
        process.stdin.write("\n")
        process.stdin.flush()
        assert json.loads(follower.stdout.readline())["message"] == "hook"
        assert follower.wait(60) == 0
        assert follower.stdout.read() == ""
    finally:
        process.kill()
        process.communicate()


def test_following_ends_with_an_interrupt(spawn: Spawn, sample: Sample) -> None:
    """The run goes on."""
    commit(sample.journal, lines(ARun(id=sample.running.int), "begin"), owner=OWNER)
    sample.journal.close()
    home = sample.journal.path.parent  # type: ignore[attr-defined]
    process = spawn("logs", "quick-hare", "-f", env={"EVENTFLOW_HOME": str(home)})
    assert process.stdout is not None
    assert process.stdout.readline().endswith("begin\n")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
