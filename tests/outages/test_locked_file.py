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
    own_journal()._busy_timeout = 0.1
    own_journal().close()
    with locked_elsewhere(tmp_path / "home" / "journal.db"):
        workload.run(30)
        failed = workload.wait_for(JournalFailed)
        workload.run(30)
        assert len(workload.hook_calls) == CALLS * 65
    workload.wait_for(JournalRecovered)

    workload.assert_journalled()
    assert "was kept by others for 1.2 s" in failed.error.message
    assert_logged(caplog, failed)


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
