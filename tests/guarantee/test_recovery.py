"""A dead owner is recovered, whatever has happened to the machine and to its files since."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from eventflow.journal.contract import RunQuery
from eventflow.journal.wal.spool import has_records
from tests.guarantee.sandbox import HEAD, Program, Sandbox
from tests.journal.rows import a_definition

ETL = """
def before(flow, run, state):
    record(state.name, runtime.hook.attempt)

def after(flow, run, state):
    record(state.name, run.total_run_time.total_seconds() >= 0)

@flow(on_running=[before], on_crashed=[after])
def etl():
    hold()

if __name__ == "__main__":
    etl()
"""

BEFORE = [["Running", 1], ["ready"]]
AFTER = [*BEFORE, ["Crashed", True]]


def kill_owner(sandbox: Sandbox, source: str = ETL, *, head: str = HEAD) -> Program:
    """Start a program, and kill it in its body together with its guardian."""
    program = sandbox.start(sandbox.write("flow.py", source, head).name)
    sandbox.wait_for_record("ready")
    sandbox.kill_with_guardian(program)
    assert program.end() == -signal.SIGKILL
    assert sandbox.records() == BEFORE, program.output

    return program


def description(sandbox: Sandbox) -> Path:
    """Return the file that describes the owner."""
    (folder,) = sandbox.owner_folders()

    return folder / "owner.json"


def change_description(sandbox: Sandbox, **facts: Any) -> None:
    """Change facts in the description of the owner."""
    path = description(sandbox)
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def assert_recovers(sandbox: Sandbox) -> None:
    """Assert that `eventflow recover` recovers the owner."""
    (report,) = sandbox.recover()
    assert report["problem"] is None
    assert sandbox.records() == AFTER
    assert sandbox.states() == [("etl", "Crashed")]
    sandbox.assert_clean()


def test_the_machine_was_rebooted(sandbox: Sandbox) -> None:
    """The boot id is another one, and the pid is that of init now."""
    kill_owner(sandbox)
    change_description(sandbox, boot="another", pid=1)
    assert_recovers(sandbox)


def test_the_pid_was_reused(sandbox: Sandbox) -> None:
    """By a process that is alive, and no owner."""
    kill_owner(sandbox)
    change_description(sandbox, pid=os.getpid())
    assert_recovers(sandbox)


def test_a_live_owner_is_not_recovered(sandbox: Sandbox) -> None:
    """Whatever its description says, since only the lock counts."""
    program = sandbox.python(ETL)
    sandbox.wait_for_record("ready")
    change_description(sandbox, boot="another", pid=2**22)
    assert sandbox.recover() == []
    assert sandbox.records() == BEFORE
    program.send(signal.SIGKILL)
    assert program.end() == -signal.SIGKILL
    assert sandbox.records() == AFTER
    sandbox.assert_clean()


# -- clocks -----------------------------------------------------------------------------------

AHEAD = """
if __name__ == "__main__":
    # The clock of this process is a day ahead of those that load the file again.
    import datetime, time, uuid_utils

    day = datetime.timedelta(days=1)
    seconds = int(day.total_seconds())
    real, time_s, time_ns, uuid7 = datetime.datetime, time.time, time.time_ns, uuid_utils.uuid7

    class Ahead(real):
        @classmethod
        def now(cls, tz=None):
            return real.now(tz) + day

    datetime.datetime = Ahead
    time.time = lambda: time_s() + seconds
    time.time_ns = lambda: time_ns() + seconds * 10**9
    # The first bits of such an id are the time in milliseconds.
    uuid_utils.uuid7 = lambda: uuid_utils.UUID(int=uuid7().int + (seconds * 1000 << 80))
"""


def test_the_clock_was_set_back(sandbox: Sandbox) -> None:
    """The run began tomorrow and crashes today: in order, and with no negative run time."""
    kill_owner(sandbox, head=AHEAD + HEAD)
    assert_recovers(sandbox)
    (run,) = sandbox.journal.runs(RunQuery())
    assert run.created > datetime.now(UTC) + timedelta(hours=23)


def test_a_retry_is_not_delayed_by_a_clock_that_was_set_back(sandbox: Sandbox) -> None:
    """It waits for the delay of the hook, and not for a day."""
    source = """
    from eventflow import Hook

    def unlucky(flow, run, state):
        record("unlucky", runtime.hook.attempt)
        if runtime.hook.attempt == 1:
            raise ValueError

    def ready(event):
        hold()

    @flow(hooks=[Hook(unlucky, state="Completed", retries=1, retry_delay_seconds=1)])
    def etl(): ...

    if __name__ == "__main__":
        from eventflow.events import HookFailed

        bus.subscribe(ready, event_type=HookFailed)
        etl()
    """
    program = sandbox.start(sandbox.write("flow.py", source, AHEAD + HEAD).name)
    sandbox.wait_for_record("ready")
    program.send(signal.SIGKILL)
    assert program.end() == -signal.SIGKILL
    assert sandbox.records() == [["unlucky", 1], ["ready"], ["unlucky", 2]], program.output
    assert sandbox.deliveries() == [("unlucky", "delivered", 2)]
    sandbox.assert_clean()


# -- segments ---------------------------------------------------------------------------------


COMMITTED = """
def commit_all():
    from eventflow.wiring import recorder

    while not recorder().flush():
        pass
"""
"""Commits all records, as the writer thread does a moment later anyway."""


@contextmanager
def nothing_committed(sandbox: Sandbox) -> Iterator[None]:
    """Lock the journal for a block, so that all records stay in their segment."""
    assert sandbox.journal.owners() == []
    with closing(sqlite3.connect(sandbox.home / "journal.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


def segment(sandbox: Sandbox) -> Path:
    """Return the only segment of the owner."""
    (folder,) = sandbox.owner_folders()
    (path,) = folder.glob("segment-*")

    return path


def change_end(path: Path, *, cut: int = 0, garbage: bytes = b"", truncate: bool = False) -> None:
    """Cut so many bytes off the end of the last record in a segment, and write others instead."""
    size = path.stat().st_size
    data = path.read_bytes().rstrip(b"\0")
    data = data[: len(data) - cut] + garbage
    path.write_bytes(data if truncate else data.ljust(size, b"\0"))


def test_a_lost_description_of_an_owner_in_the_journal(sandbox: Sandbox) -> None:
    """A loss of power can leave zeros in the file; the journal has the same facts."""
    kill_owner(sandbox, ETL.replace("hold()", "commit_all(); hold()"), head=HEAD + COMMITTED)
    assert not has_records(description(sandbox).parent)
    (owner,) = sandbox.journal.owners()
    assert owner.id == description(sandbox).parent.name
    description(sandbox).write_bytes(bytes(512))
    assert_recovers(sandbox)


def test_a_lost_description_of_an_owner_in_a_segment(sandbox: Sandbox) -> None:
    """Each segment begins with the facts of the owner."""
    sandbox.home.mkdir()
    with nothing_committed(sandbox):
        kill_owner(sandbox)
        description(sandbox).write_bytes(bytes(512))
    assert sandbox.journal.owners() == []
    assert_recovers(sandbox)


@pytest.mark.parametrize(
    "garbage",
    [
        a_definition()[:-9],
        bytes(4096) + a_definition()[9:],
        bytes(range(256)) * 9,
    ],
    ids=["half", "zeros", "garbage"],
)
def test_a_segment_that_ends_in_garbage(sandbox: Sandbox, garbage: bytes) -> None:
    """As after a loss of power: all whole records before it are recovered."""
    sandbox.home.mkdir()
    with nothing_committed(sandbox):
        kill_owner(sandbox)
        change_end(segment(sandbox), garbage=garbage)
    assert sandbox.states() == []
    assert_recovers(sandbox)


# Its first transitions are held back for a moment: now they are in the last record.
STEP = """
@task
def step():
    from eventflow.wiring import recorder
    recorder().record_open_runs()
    hold()
"""


@pytest.mark.parametrize("truncate", [False, True])
def test_a_torn_record(sandbox: Sandbox, *, truncate: bool) -> None:
    """The transitions of the last record are lost; no hook of theirs had been called."""
    sandbox.home.mkdir()
    source = ETL.replace("hold()", "step()").replace("if __name__", f"{STEP}\nif __name__", 1)
    with nothing_committed(sandbox):
        kill_owner(sandbox, source)
        change_end(segment(sandbox), cut=9, truncate=truncate)
    (report,) = sandbox.recover()
    assert (report["crashed"], report["problem"]) == (1, None)
    assert sandbox.records() == AFTER
    assert sandbox.states() == [("etl", "Crashed")]
    sandbox.assert_clean()


@pytest.mark.parametrize("size", [0, 20, 64, 100])
def test_a_truncated_segment(sandbox: Sandbox, size: int) -> None:
    """All that nobody can read any more is lost, and the owner is recovered without it."""
    sandbox.home.mkdir()
    with nothing_committed(sandbox):
        kill_owner(sandbox)
        os.truncate(segment(sandbox), size)
    (report,) = sandbox.recover()
    assert (report["crashed"], report["problem"]) == (0, None)
    assert (sandbox.records(), sandbox.states()) == (BEFORE, [])
    sandbox.assert_clean()


def test_a_deleted_segment(sandbox: Sandbox) -> None:
    """What is in the journal already is recovered."""
    kill_owner(sandbox, ETL.replace("hold()", "commit_all(); hold()"), head=HEAD + COMMITTED)
    segment(sandbox).unlink()
    assert_recovers(sandbox)


def test_a_segment_of_a_newer_version(sandbox: Sandbox) -> None:
    """It is left, and so is its owner, until an eventflow comes that can read it."""
    sandbox.home.mkdir()
    with nothing_committed(sandbox):
        kill_owner(sandbox)
        path = segment(sandbox)
        data = path.read_bytes()
        path.write_bytes(data.replace(b"segment 1\n", b"segment 2\n", 1))
    with pytest.raises(AssertionError, match="newer eventflow"):
        sandbox.recover()
    assert sandbox.owner_folders() != []
    path.write_bytes(data)
    assert_recovers(sandbox)
