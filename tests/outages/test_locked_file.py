"""Another process that locks the SQLite file holds up no run."""

from __future__ import annotations

import json
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
from eventflow.owners.folders import ended
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
    """Its records are in a segment, and taken in by who comes after the lock is released."""
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
        (left,) = ended(home / "journal.db-owners")
        assert has_records(left.path)

    assert recover(f"sqlite:///{home}/journal.db") == []

    assert ended(home / "journal.db-owners") == []
    runs = own_journal().runs(RunQuery(definition="etl"))
    assert [run.state_name for run in runs] == ["Completed"] * 2
    assert own_journal().verify() == []


OPEN = """
import threading, time
from eventflow import flow
from eventflow.journal.stores.sqlite import SqliteJournal

committing, transact = threading.Event(), SqliteJournal.transact

def wait_for_the_lock(*args):
    committing.set()
    return transact(*args)

SqliteJournal.transact = wait_for_the_lock

@flow
def short():
    pass

@flow
def endless():
    time.sleep(600)

short()
committing.wait()
endless()
"""


def test_a_run_is_recorded_that_begins_while_a_commit_waits(
    workload: Workload, tmp_path: Path
) -> None:
    """If its process is killed before the lock is released, the run is known all the same."""
    workload.run(1)
    workload.flush()
    home = tmp_path / "home"
    program = tmp_path / "program.py"
    program.write_text(OPEN)
    env = {**os.environ, "EVENTFLOW_HOME": str(home), "EVENTFLOW_GUARDIAN": "false"}
    with locked_elsewhere(home / "journal.db"):
        process = subprocess.Popen([sys.executable, str(program)], env=env, cwd=tmp_path)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not any(b"endless" in data for data in _segments(home, process.pid)):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
        process.wait(TIMEOUT_SECONDS)

    recover(f"sqlite:///{home}/journal.db")

    (run,) = own_journal().runs(RunQuery(definition="endless"))
    assert run.state_name == "Crashed"


def _segments(home: Path, pid: int) -> list[bytes]:
    """Return the content of the segments of a process."""
    found = []
    for description in (home / "journal.db-owners").glob("*/owner.json"):
        if json.loads(description.read_text())["pid"] == pid:
            found += [path.read_bytes() for path in description.parent.glob("segment-*")]

    return found


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
