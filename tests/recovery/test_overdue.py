"""What a living owner does not deliver, as it is stuck, is delivered for it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventflow.hooks.ledger import LASTED
from eventflow.journal.contract import Journal, RunQuery
from eventflow.owners import claims
from eventflow.owners.folders import owners_folder
from eventflow.owners.guardian import DUE, HEADER
from eventflow.owners.locks import lock
from eventflow.primitives.ids import delivery_id
from eventflow.recovery.overdue import LOCK
from eventflow.recovery.owner import SILENT
from tests.recovery.scripts import HEAD, ReadTold, deliveries

# Its own timer delivers nothing.
STUCK = """
from eventflow.eventbus.deadlines import timer
from eventflow.testing import flush
timer.run = lambda: None

def slow(definition, run, state):
    tell(definition.name, state.name, runtime.hook.attempt, run.parameters)

@task(name="step", overdue_seconds=0.01, on_overdue=[slow])
def step(n):
    @step.on("Running", lasting=3600)
    def later(*_): ...
    flush()
    print("ready", flush=True)
    sys.stdin.readline()

@flow
def etl():
    step(7)

if __name__ == "__main__":
    etl()
"""
DELIVER = """
import sys
from pathlib import Path
from eventflow.recovery.overdue import deliver_due
print(deliver_due(Path(sys.argv[1]), {}, int(sys.argv[2])).delivered)
"""


class Stuck:
    """An owner that is stuck, its folder, and the note of its guardian."""

    def __init__(self, folder: Path, url: str) -> None:
        (folder / "script.py").write_text(HEAD + STUCK)
        self.popen = subprocess.Popen(
            [sys.executable, "script.py"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.popen.stdout is not None
        assert self.popen.stdout.readline() == "ready\n"
        owners = owners_folder(url)
        assert owners is not None
        (self.folder,) = [path for path in owners.iterdir() if path.is_dir()]
        self.note = os.memfd_create("note")
        os.ftruncate(self.note, HEADER)

    def deliver(self, grace: float = 0.01) -> int:
        """Deliver what is due, in another process; return how many deliveries that were."""
        ended = subprocess.run(
            [sys.executable, "-c", DELIVER, str(self.folder), str(self.note)],
            env=os.environ | {"EVENTFLOW_GUARDIAN_GRACE_SECONDS": str(grace)},
            pass_fds=(self.note,),
            stdout=subprocess.PIPE,
            check=True,
            timeout=60,
        )

        return int(ended.stdout)

    def next_due(self) -> float | None:
        """Return in how many seconds it is to be looked again."""
        noted = int.from_bytes(os.pread(self.note, 8, DUE + 8))

        return None if noted == 0 else noted / 1e6 - time.monotonic()

    def end(self) -> None:
        """Let it go on, to its end."""
        if self.popen.poll() is None:
            self.popen.communicate("go on\n", timeout=60)


@pytest.fixture
def stuck(tmp_path: Path, url: str) -> Iterator[Stuck]:
    made = Stuck(tmp_path, url)
    yield made
    made.end()
    os.close(made.note)


pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs Linux")


def test_what_is_due_is_delivered_once(stuck: Stuck, read_told: ReadTold, journal: Journal) -> None:
    """And it is noted when there will be more; the owner does it no more when it goes on."""
    assert stuck.deliver() == 1
    assert read_told() == [["step", "Running", 1, {"n": 7}]]
    seconds = stuck.next_due()
    assert seconds is not None
    assert 3_000 < seconds < 3_601
    assert stuck.deliver() == 0
    stuck.end()

    assert len(read_told()) == 1
    assert [status for _, status, _ in deliveries(journal)] == ["delivered"]
    assert journal.verify() == []


def test_what_is_not_due_yet_is_left(stuck: Stuck, read_told: ReadTold) -> None:
    """A grace after it was due it will be."""
    assert stuck.deliver(grace=500) == 0
    assert read_told() == []
    seconds = stuck.next_due()
    assert seconds is not None
    assert 0 < seconds <= 500.1


def test_what_the_owner_has_claimed_is_left(
    stuck: Stuck, read_told: ReadTold, journal: Journal
) -> None:
    """It delivers that itself: it has begun, and it may take long."""
    (run,) = journal.runs(RunQuery(definition="step"))
    name = delivery_id(run.id.int, run.sequence, LASTED).hex
    assert claims.claim(stuck.folder, name)
    assert stuck.deliver() == 0
    claims.release(stuck.folder, name)
    assert stuck.deliver() == 1
    assert len(read_told()) == 1


def test_what_another_host_has_taken_over_is_left(
    stuck: Stuck, read_told: ReadTold, journal: Journal
) -> None:
    """It delivers what was due before."""
    journal.end(stuck.folder.name, SILENT)
    assert stuck.deliver() == 0
    assert read_told() == []


def test_one_process_at_a_time(stuck: Stuck, read_told: ReadTold) -> None:
    """A guardian that was killed may have left one behind: it goes on with it."""
    held = lock(stuck.folder / LOCK)
    assert held is not None
    assert stuck.deliver() == 0
    assert read_told() == []
    held.release()
    assert stuck.deliver() == 1
