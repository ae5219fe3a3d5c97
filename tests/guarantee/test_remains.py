"""What a dead process left is finished, however odd the machine or the files have become."""

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
from tests.guarantee.stage import HEAD, Program, Stage

ETL = """
def before(flow, run, state):
    tell(state.name, runtime.hook.attempt)

def after(flow, run, state):
    tell(state.name, run.total_run_time.total_seconds() >= 0)

@flow(on_running=[before], on_crashed=[after])
def etl():
    hold()

if __name__ == "__main__":
    etl()
"""

LEFT = [["Running", 1], ["ready"]]
DONE = [*LEFT, ["Crashed", True]]


def left(stage: Stage, source: str = ETL, *, head: str = HEAD) -> Program:
    """Give a program that was killed in its body together with its guardian."""
    program = stage.start(stage.write("flow.py", source, head).name)
    stage.until_told("ready")
    stage.kill_with_guardian(program)
    assert program.end() == -signal.SIGKILL
    assert stage.told() == LEFT, program.output

    return program


def description(stage: Stage) -> Path:
    """Give the file in which the one owner is described."""
    (folder,) = stage.remains()

    return folder / "owner.json"


def describe_anew(stage: Stage, **facts: Any) -> None:
    """Change what the description of the one owner says."""
    path = description(stage)
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def assert_done(stage: Stage) -> None:
    """`eventflow recover` finishes it."""
    (report,) = stage.recover()
    assert report["problem"] is None
    assert stage.told() == DONE
    assert stage.states() == [("etl", "Crashed")]
    stage.assert_clean()


def test_the_machine_was_started_again(stage: Stage) -> None:
    """The boot is another one, and what has the number of the process now is the first of all."""
    left(stage)
    describe_anew(stage, boot="another", pid=1)
    assert_done(stage)


def test_the_number_of_the_process_is_taken_by_another(stage: Stage) -> None:
    """One that lives, and has nothing to do with it."""
    left(stage)
    describe_anew(stage, pid=os.getpid())
    assert_done(stage)


def test_who_lives_is_not_taken_for_dead(stage: Stage) -> None:
    """Whatever its description says: only the lock counts."""
    program = stage.python(ETL)
    stage.until_told("ready")
    describe_anew(stage, boot="another", pid=2**22)
    assert stage.recover() == []
    assert stage.told() == LEFT
    program.send(signal.SIGKILL)
    assert program.end() == -signal.SIGKILL
    assert stage.told() == DONE
    stage.assert_clean()


# -- clocks -----------------------------------------------------------------------------------

AHEAD = """
if __name__ == "__main__":
    # The clock of this process is a day ahead of the one of those that load it again.
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


def test_the_clock_was_set_back(stage: Stage) -> None:
    """The run began tomorrow, and crashes today: it does, in order, and takes no negative time."""
    left(stage, head=AHEAD + HEAD)
    assert_done(stage)
    (run,) = stage.journal.runs(RunQuery())
    assert run.created > datetime.now(UTC) + timedelta(hours=23)


def test_a_retry_that_is_due_tomorrow_because_the_clock_was_set_back(stage: Stage) -> None:
    """It is waited for as long as the hook itself asks for, not for a day."""
    source = """
    from eventflow import Hook

    def unlucky(flow, run, state):
        tell("unlucky", runtime.hook.attempt)
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
    program = stage.start(stage.write("flow.py", source, AHEAD + HEAD).name)
    stage.until_told("ready")
    program.send(signal.SIGKILL)
    assert program.end() == -signal.SIGKILL
    assert stage.told() == [["unlucky", 1], ["ready"], ["unlucky", 2]], program.output
    assert stage.deliveries() == [("unlucky", "delivered", 2)]
    stage.assert_clean()


# -- spools -----------------------------------------------------------------------------------


COMMITTED = """
def until_all_is_committed():
    from eventflow.wiring import recorder

    while not recorder().flush():
        pass
"""
"""Has what was told of a run up to now in the journal, as it is a moment later anyway."""


@contextmanager
def nothing_committed(stage: Stage) -> Iterator[None]:
    """Keep the journal locked, so that all is in the spool within the block."""
    assert stage.journal.owners() == []
    with closing(sqlite3.connect(stage.home / "journal.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


def spool(stage: Stage) -> Path:
    """Give the one file of the one owner's spool."""
    (folder,) = stage.remains()
    (path,) = folder.glob("spool-*.jsonl")

    return path


def test_a_description_that_was_lost_when_all_is_in_the_journal(stage: Stage) -> None:
    """A loss of power can leave zeros of it; the journal knows the owner before its first line."""
    left(stage, ETL.replace("hold()", "until_all_is_committed(); hold()"), head=HEAD + COMMITTED)
    assert not any(one.stat().st_size for one in description(stage).parent.glob("spool-*"))
    (known,) = stage.journal.owners()
    assert known.id == description(stage).parent.name
    description(stage).write_bytes(bytes(512))
    assert_done(stage)


def test_a_description_that_was_lost_when_nothing_is_in_the_journal(stage: Stage) -> None:
    """The spool says whose its lines are until they are committed."""
    stage.home.mkdir()
    with nothing_committed(stage):
        left(stage)
        description(stage).write_bytes(bytes(512))
    assert stage.journal.owners() == []
    assert_done(stage)


@pytest.mark.parametrize(
    "litter",
    [
        b'{"runs":[["half',
        bytes(4096),
        b'\n{}\n[]\nnull\n{"events":[["no","event"]]}\n{"events":17}\n' + bytes(range(256)) * 9,
    ],
    ids=["half", "zeros", "garbage"],
)
def test_a_spool_that_ends_in_litter(stage: Stage, litter: bytes) -> None:
    """After a loss of power there may be anything: up to the last whole line all is there."""
    stage.home.mkdir()
    with nothing_committed(stage):
        left(stage)
        with spool(stage).open("ab") as file:
            file.write(litter)
    assert stage.states() == []
    assert_done(stage)


def test_a_spool_that_was_cut(stage: Stage) -> None:
    """What was in the last line has not happened, and what it owed was not begun."""
    stage.home.mkdir()
    source = ETL.replace("hold()", "step()").replace(
        "if __name__", "@task\ndef step():\n    hold()\n\nif __name__", 1
    )
    with nothing_committed(stage):
        left(stage, source)
        path = spool(stage)
        path.write_bytes(path.read_bytes()[:-9])
    (report,) = stage.recover()
    assert (report["crashed"], report["problem"]) == (1, None)
    assert stage.told() == DONE
    assert stage.states() == [("etl", "Crashed")]
    stage.assert_clean()
