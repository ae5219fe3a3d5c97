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
from eventflow.journal.contract import START
from eventflow.journal.rows import EventRow
from eventflow.journal.wal.writer import Writer
from tests.journal.fakes import StatusLog
from tests.journal.rows import ARun, an_owner
from tests.journal.server import Server
from tests.journal.writing import OwnStore, append_all

ROOT = Path(__file__).parent.parent.parent
WRITE = """
import sys
from eventflow.journal import open_journal
from eventflow.journal.wal.writer import Writer
from eventflow.hooks.ledger import DeliveryStatus
from tests.journal.rows import HOOK, ARun, an_owner
from tests.journal.writing import OwnStore, append_all

url, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
def troubled(error, lost):
    if error is not None:
        raise SystemExit(f"{error} {lost}")
journal = open_journal(url)
writer = Writer(OwnStore(journal, name, journal.register(an_owner(name))), troubled)
print("ready", flush=True)
sys.stdin.readline()

for number in range(count):
    run = ARun()
    append_all(writer, run.enter("P", HOOK, begun=0))
    assert writer.wait()
    print(run.id, flush=True)
    append_all(writer, run.settle(DeliveryStatus.PENDING, 0) + run.enter("RC", HOOK, begun=0))
    writer.notify()
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
    postgres_url: str = request.getfixturevalue("postgres_url")

    return postgres_url


def test_many_processes_write_one_journal(url: str) -> None:
    """There is no error, and every run, event and delivery is there."""
    processes = [write(url, f"owner-{number}", 60) for number in range(4)]
    for process in processes:
        go(process)
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")

    journal = open_journal(url)
    statistics = journal.statistics()
    assert (statistics.runs, statistics.events) == (240, 720)
    assert statistics.deliveries == {"pending": 480}
    assert statistics.unfinished == 0
    assert journal.verify() == []
    journal.close()


def test_a_killed_writer_leaves_a_whole_journal(url: str) -> None:
    """Killed at full speed: every run reported as durable is there, and no group by halves."""
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
        # The runs of the owner killed before have no keeper yet; nothing else is wrong.
        assert {finding.kind for finding in journal.verify()} <= {"abandoned", "unattended"}
        assert journal.end(owner, "killed")

    heir = journal.register(an_owner("heir"))
    assert len(journal.claim(heir, 100_000)) == journal.statistics().runs
    assert journal.verify() == []
    journal.close()


def test_a_writer_reconnects_to_a_restarted_server(postgres: Server, postgres_url: str) -> None:
    """Killed and started again while runs are written: all of them are there in the end."""
    status_log = StatusLog()
    journal = open_journal(postgres_url)
    writer = Writer(OwnStore(journal, "owner"), status_log)
    runs = [ARun() for _ in range(30)]
    for number, run in enumerate(runs):
        if number == 10:
            postgres.kill()
        if number == 20:
            postgres.start()
        append_all(writer, run.enter("P"))
        writer.wait()

    assert status_log.recovered.wait(60)
    assert [error is None for error, _ in status_log.calls] == [False, True]
    assert writer.flush()
    events, _ = journal.events_after(START, 99)
    read = [event.run_id for event in events if isinstance(event, EventRow)]
    assert read == [run.id for run in runs]
    writer.close()
