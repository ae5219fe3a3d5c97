"""Many processes on one journal, and processes that are killed in the middle of a commit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from eventflow.journal import open_journal
from eventflow.journal.writer import Writer
from tests.journal.putting import now
from tests.journal.rows import a_run, an_owner
from tests.journal.server import Server
from tests.journal.test_writer import Told, entered

ROOT = Path(__file__).parent.parent.parent
WRITE = """
import sys
from eventflow.journal import open_journal
from eventflow.journal.format import encode
from eventflow.journal.writer import Writer
from eventflow.states import StateType
from tests.journal.putting import now, soon
from tests.journal.rows import a_delivery, a_run, an_owner, entering, later

url, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
def troubled(error, lost):
    if error is not None:
        raise SystemExit(f"{error} {lost}")
journal = open_journal(url)
writer = Writer(journal, troubled, fence=journal.register(an_owner(name)))
print("ready", flush=True)
sys.stdin.readline()

def owed(run):
    return encode(entering(run, a_delivery(run)))

for number in range(count):
    run = a_run(owner=name)
    assert now(writer, owed(run))
    print(run.id, flush=True)
    run = later(run, StateType.COMPLETED, ends=True)
    soon(writer, owed(run))
assert writer.close()
"""


def write(url: str, name: str, count: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE, url, name, str(count)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/journal.db"
    found: str = request.getfixturevalue("postgres_url")

    return found


def test_many_processes_write_one_journal(url: str) -> None:
    """Nobody sees an error, and every run, event and delivery is there."""
    processes = [write(url, f"owner-{number}", 60) for number in range(4)]
    for process in processes:
        go(process)
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert (process.returncode, said) == (0, "")

    journal = open_journal(url)
    found = journal.statistics()
    assert (found.runs, found.events, found.deliveries) == (240, 480, {"pending": 480})
    assert found.unfinished == 0
    assert journal.verify() == []
    journal.close()


def test_a_killed_writer_leaves_a_whole_journal(url: str) -> None:
    """Killed at full speed: what it was told is durable is there, and nothing by halves."""
    journal = open_journal(url)
    for number in range(2):
        owner = f"owner-{number}"
        process = write(url, owner, 100_000)
        assert process.stdout is not None
        go(process)
        durable = [process.stdout.readline() for _ in range(20 + 13 * number)]
        process.send_signal(signal.SIGKILL)
        durable += process.communicate(timeout=60)[0].splitlines()[:-1]

        assert [line for line in durable if journal.run(UUID(line.strip())) is None] == []
        # What the one that was killed before left is nobody's yet; nothing else is wrong.
        assert {one.kind for one in journal.verify()} <= {"abandoned", "unattended"}
        assert journal.end(owner, "killed")

    heir = journal.register(an_owner("heir"))
    assert len(journal.claim(heir, 100_000)) == journal.statistics().runs
    assert journal.verify() == []
    journal.close()


def test_a_server_that_is_killed_is_found_again(postgres: Server, postgres_url: str) -> None:
    """Killed and started again in the middle of the writing: all rows are there in the end."""
    told = Told()
    journal = open_journal(postgres_url)
    writer = Writer(journal, told)
    runs = [a_run() for _ in range(30)]
    for number, run in enumerate(runs):
        if number == 10:
            postgres.kill()
        if number == 20:
            postgres.start()
        now(writer, entered(run))

    assert told.again.wait(60)
    assert [error is None for error, _ in told.said] == [False, True]
    assert writer.flush()
    assert [one.run_id for one in journal.events_after((0, 0), 99)[0]] == [run.id for run in runs]
    writer.close()
