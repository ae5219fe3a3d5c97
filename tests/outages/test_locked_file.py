"""Another process that locks the SQLite file holds up no run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eventflow.events import JournalFailed, JournalRecovered
from eventflow.journal.contract import RunQuery
from eventflow.journal.wal.spool import has_records
from eventflow.owners.folders import dead
from eventflow.recovery.supervisor import recover
from tests.outages.workload import (
    CALLS,
    TIMEOUT_SECONDS,
    Workload,
    assert_logged,
    own_journal,
)

LOCKED_SECONDS = 10 if os.environ.get("FULL_SIZE") else 1
"""How long the other process holds the lock."""

LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""


@contextmanager
def locked_elsewhere(path: Path) -> Iterator[None]:
    """Have another process hold an exclusive lock on the file."""
    holder = subprocess.Popen(
        [sys.executable, "-c", LOCK, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    try:
        yield
    finally:
        holder.communicate("release\n", timeout=TIMEOUT_SECONDS)


def test_runs_do_not_wait_for_a_locked_journal(
    workload: Workload, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Runs end while the file is locked; all of them are journalled once it is released."""
    workload.run(5)
    workload.assert_journalled()
    own_journal()._busy_timeout = 0.01
    own_journal().close()
    with locked_elsewhere(tmp_path / "home" / "journal.db"):
        workload.run(30)
        failed = workload.wait_for(JournalFailed)
        workload.run(30)
        assert len(workload.hook_calls) == CALLS * 65
    workload.wait_for(JournalRecovered)

    workload.assert_journalled()
    assert "is kept locked by another process" in failed.error.message
    assert_logged(caplog, failed)


PROGRAM = """
from eventflow import flow

def hook(definition, run, state):
    print(state.name, flush=True)

@flow(on_completion=[hook])
def etl():
    pass

etl()
"""


def test_a_process_ends_while_the_journal_is_locked(workload: Workload, tmp_path: Path) -> None:
    """Its records are in a segment, and a recovery commits them after the lock is released."""
    workload.run(1)
    workload.flush()
    home = tmp_path / "home"
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    env = {**os.environ, "EVENTFLOW_HOME": str(home), "EVENTFLOW_GUARDIAN": "false"}
    with locked_elsewhere(home / "journal.db"):
        # Fails after the timeout if the program waits for the lock.
        done = subprocess.run(
            [sys.executable, str(program)],
            env=env,
            cwd=tmp_path,
            timeout=TIMEOUT_SECONDS,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "Completed\n"
        assert len(own_journal().runs(RunQuery(definition="etl"))) == 1
        (dead_owner,) = dead(home / "journal.db-owners")
        assert has_records(dead_owner.path)

    reports = recover(f"sqlite:///{home}/journal.db")

    assert [(report.crashed, report.problem) for report in reports] == [(0, None)]
    runs = own_journal().runs(RunQuery(definition="etl"))
    assert [run.state_name for run in runs] == ["Completed"] * 2
    assert own_journal().verify() == []


def test_a_lock_of_ten_seconds_is_no_outage(
    workload: Workload, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Runs go on at full speed, nothing is logged, and all of them are journalled afterwards."""
    workload.run(5)
    workload.assert_journalled()
    own_journal().close()
    with locked_elsewhere(tmp_path / "home" / "journal.db"):
        deadline = time.monotonic() + LOCKED_SECONDS
        while time.monotonic() < deadline:
            workload.run(10)

    workload.assert_journalled()
    assert [workload.events, caplog.records] == [[], []]
