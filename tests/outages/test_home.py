"""A home that cannot be written or is deleted, and a journal file that is deleted or damaged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import pytest

from eventflow.events import JournalFailed, JournalRecovered
from eventflow.journal import open_journal
from eventflow.journal.contract import RunQuery
from eventflow.owners.locks import is_free
from tests.outages.workload import TIMEOUT_SECONDS, Workload, assert_logged, own_journal

ROOT = Path(__file__).parents[2]

# Another journal first, which loads all modules: a user who cannot write to the home may not be
# allowed to read Python's folders.
READ_ONLY = """
import os, sys, threading
from eventflow import bus, flow
from eventflow.events import JournalEvent, JournalRecovered
from eventflow.testing import flush, isolated
from eventflow.wiring import recorder
from tests.journal.server import Server

with isolated():
    flow(on_completion=[lambda *_: None])(lambda: None)()
    flush()
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
recovered = threading.Event()

@bus.subscribe(event_type=JournalEvent)
def listen(event):
    print(type(event).__name__, flush=True)
    if isinstance(event, JournalRecovered):
        recovered.set()

def hook(definition, run, state):
    print("hook", flush=True)

@flow(on_completion=[hook])
def etl():
    pass

for _ in range(3):
    etl()
print("done", flush=True)
if sys.stdin.readline():
    assert recovered.wait(60)
    assert recorder().flush()
"""


def test_runs_go_on_until_the_home_can_be_written(tmp_path: Path) -> None:
    """Runs and hooks do without a journal; once the home is writable, all of it is journalled."""
    home = tmp_path / "home"
    home.mkdir(mode=0o555)
    child = start_as_nobody(home)
    assert child.stdin is not None
    assert child.stdout is not None
    lines = list(takewhile(lambda line: line != "done\n", child.stdout))
    assert sorted(lines) == ["JournalFailed\n", "hook\n", "hook\n", "hook\n"]
    home.chmod(0o777)
    child.stdin.write("go on\n")
    out, err = child.communicate(timeout=TIMEOUT_SECONDS)

    assert (child.returncode, out) == (0, "JournalRecovered\n")
    assert "lost" not in err.replace("lost=0", "")
    for file in home.glob("journal.db*"):
        # What another user has written is not used.
        os.chown(file, os.geteuid(), -1)
    journal = open_journal(f"sqlite:///{home}/journal.db")
    assert [run.state_name for run in journal.runs(RunQuery())] == ["Completed"] * 3
    assert journal.verify() == []
    journal.close()


def test_a_program_ends_without_a_home(tmp_path: Path) -> None:
    """Where the home never becomes writable, the program ends with 0 and logs what is lost."""
    home = tmp_path / "home"
    home.mkdir(mode=0o555)
    child = start_as_nobody(home)
    out, err = child.communicate(timeout=TIMEOUT_SECONDS)

    assert child.returncode == 0
    assert sorted(out.splitlines()) == ["JournalFailed", "done", "hook", "hook", "hook"]
    # With the description of the owner, which begins a segment, and a warning logged in a run.
    assert "until the end of this process: 13 records are lost." in err
    assert list(home.iterdir()) == []


def start_as_nobody(home: Path) -> subprocess.Popen[str]:
    """Start the program with this home, as the user `nobody` if the tests run as root."""
    for folder in (home, *home.parents):
        # pytest makes the folders above readable by its own user only.
        if folder.owner() == "root" and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)

    return subprocess.Popen(
        [sys.executable, "-c", READ_ONLY],
        cwd=ROOT,
        env={**os.environ, "EVENTFLOW_HOME": str(home), "EVENTFLOW_LOG_LEVEL": "WARNING"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.usefixtures("no_background_commits")
def test_a_deleted_home_is_made_again(
    workload: Workload, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Deleted in the middle of a run: that run and all later ones are in a new journal."""
    workload.run(5)
    workload.assert_journalled()
    workload.run(during=lambda: shutil.rmtree(tmp_path / "home"))
    # The outage is noticed when a line cannot be appended to the spool.
    while not workload.events:
        workload.run()
    failed = workload.wait_for(JournalFailed)
    workload.flush()
    workload.wait_for(JournalRecovered)
    workload.run(5)

    workload.assert_journalled(but_first=5)
    assert_logged(caplog, failed)
    (folder,) = (tmp_path / "home" / "journal.db-owners").glob("[!.]*")
    assert {path.name for path in folder.iterdir()} >= {"lock", "owner.json"}
    assert not is_free(folder / "lock")


@pytest.mark.usefixtures("no_background_commits")
def test_a_deleted_journal_is_begun_anew(
    workload: Workload, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Every run that was not in the deleted file yet is in the new one."""
    workload.run(5)
    workload.assert_journalled()

    def delete() -> None:
        for path in (tmp_path / "home").glob("journal.db*"):
            if path.is_file():
                path.unlink()

    workload.run(30, during=delete)

    workload.assert_journalled(but_first=5)
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.usefixtures("no_background_commits")
def test_a_damaged_journal_is_set_aside(
    workload: Workload, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Damaged in the middle of a run: the file is kept for inspection, and a new one is begun."""
    path = tmp_path / "home" / "journal.db"
    workload.run(5)
    workload.assert_journalled()

    def damage() -> None:
        journal = own_journal()
        # A connection opened in between would repair the file from its own log.
        with journal._lock:
            journal.close()
            path.write_bytes(b"this is no database" * 1000)

    workload.run(30, during=damage)

    workload.assert_journalled(but_first=5)
    (aside,) = path.parent.glob("journal.db.corrupt-*")
    assert aside.read_bytes().startswith(b"this is no database")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"It was set aside as {aside}, and a new one was begun" in record.getMessage()


def test_a_journal_that_was_damaged_before_is_set_aside(
    workload: Workload, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first run notices the damage, and no run of this process is missing."""
    path = tmp_path / "home" / "journal.db"
    path.parent.mkdir()
    path.write_bytes(b"this is no database" * 1000)
    workload.run(5)

    workload.assert_journalled()
    assert len(list(path.parent.glob("journal.db.corrupt-*"))) == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
