"""A dead owner is recovered: its runs enter Crashed, and what it spooled is in the journal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from eventflow.errors import JournalError
from eventflow.journal.contract import START, DeliveryQuery, Journal, NewerSchemaError, RunQuery
from eventflow.journal.rows import OwnerRow, OwnEvent
from eventflow.journal.wal.segments import HEAD
from eventflow.journal.wal.spool import Spool
from eventflow.owners.folders import LockedFolder, owners_folder
from eventflow.owners.process import describe
from eventflow.recovery.owner import Report, _when_it_answers
from eventflow.recovery.supervisor import recover
from tests.journal.rows import HOOK, ARun, a_definition, an_owner, commit
from tests.recovery.scripts import HEAD as SCRIPT
from tests.recovery.scripts import ReadTold, RunKilled, owner_folders


def leave(folder: Path, data: bytes) -> None:
    """Leave a segment, as a process that is killed."""
    segment = Spool(folder).take(len(data))
    segment.data[HEAD : HEAD + len(data)] = data


def test_runs_of_a_killed_process_crash_children_first(
    run_killed: RunKilled, url: str, journal: Journal, read_told: ReadTold
) -> None:
    """Every unfinished run enters Crashed, the task before its flow, and hooks are called."""
    run_killed(
        """
def crashed(definition, run, state):
    facts = runtime.task_run.name if definition.name == "step" else runtime.flow_run.name
    get_run_logger().info("heard")
    tell(definition.name, run.name == facts, run.parameters, run.tags, state.message.split(" (")[0],
         run.run_count, runtime.hook.attempt, definition.fn.__name__, run.start_time is not None)

@task(on_crashed=[crashed], tags=["t"])
def step(n):
    die()

@flow(on_crashed=[crashed], flow_run_name="run-{x}")
def etl(x: int = 7):
    step(x + 1)

etl()
"""
    )
    assert len(owner_folders(url)) == 1

    (report,) = recover(url)

    assert report.problem is None
    assert (report.crashed, report.delivered, report.dead) == (2, 2, 0)
    message = "The process that executed it"
    assert read_told() == [
        ["step", True, {"n": 8}, ["t"], message, 1, 1, "step", True],
        ["etl", True, {"x": 7}, [], message, 1, 1, "etl", True],
    ]
    flow_run, task_run = journal.runs(RunQuery())[::-1]
    assert (flow_run.state_name, task_run.state_name) == ("Crashed", "Crashed")
    assert (flow_run.reference, flow_run.name) == ("__main__:etl", "run-7")
    assert flow_run.message is not None
    assert f"(pid {report.pid} on {report.host}) vanished without a word: " in flow_run.message
    assert " Finished by pid " in flow_run.message
    before, after = journal.events(flow_run.id)[-2:]
    assert after.follows == before.id
    assert owner_folders(url) == []
    assert journal.verify() == []
    assert recover(url) == []


def test_spooled_runs_are_recovered(
    run_killed: RunKilled, url: str, journal: Journal, tmp_path: Path, read_told: ReadTold
) -> None:
    """Hooks of a copy and hooks for all runs are called; an unfinished record is ignored."""
    run_killed(
        """
@hook(run_type="flow", state="Crashed")
def everywhere(flow, run, state): tell("everywhere", flow.name)

def own(flow, run, state): tell("own", flow.name, run.parent_flow_run_id is not None)

@flow
def base(): ...

copy = base.with_options(name="copy", on_crashed=[own])
late = base.with_options(on_failure=[own])

@flow
def outer():
    copy.fn()
    copy.with_options(name="copied")
    inner()

@flow(name="copy", on_crashed=[own])
def inner():
    os.close(os.open("spooled", os.O_CREAT))
    die()

outer()
"""
    )
    assert (tmp_path / "spooled").exists()
    (name,) = owner_folders(url)
    folder = owners_folder(url)
    assert folder is not None
    leave(folder / name, a_definition()[:-9])

    (report,) = recover(url)

    assert (report.crashed, report.problem) == (2, None)
    assert read_told() == [["own", "copy", True], ["everywhere", "copy"], ["everywhere", "outer"]]
    assert journal.verify() == []


def test_own_events_are_those_of_hooks(run_killed: RunKilled, url: str, journal: Journal) -> None:
    """What a file publishes that is loaded again was published before."""
    run_killed(
        """
from eventflow import Event, bus

class Said(Event):
    word: str

def crashed(flow, run, state):
    bus.publish(Said(word="by the hook"))

@flow(on_crashed=[crashed])
def main():
    die()

bus.publish(Said(word="by the file"))
if __name__ == "__main__":
    main()
"""
    )

    assert [report.problem for report in recover(url)] == [None]

    events, _ = journal.events_after(START, 99)
    own = [event.content for event in events if isinstance(event, OwnEvent)]
    assert [json.loads(text)["word"] for text in own] == ["by the hook"]


def test_an_owner_of_another_machine_is_recovered_when_its_lease_ran_out(
    url: str, journal: Journal, tmp_path: Path, read_told: ReadTold
) -> None:
    """It has no folder here; its definitions are loaded from the files of this machine."""
    (tmp_path / "job.py").write_text(
        f"{SCRIPT}\n@flow(on_crashed=[lambda f, r, state: tell(state.message)])\ndef etl(): ...\n"
    )
    far = describe()._replace(
        id="far",
        host="far-away",
        pid=7,
        main_file=None,
        cwd=str(tmp_path),
        sys_path=(f"{tmp_path}",),
    )
    run = ARun(
        created=datetime.now(UTC),
        named="lost-run",
        run_type="flow",
        name="etl",
        reference="job:etl",
        hooks=None,
    )
    journal.register(far, lease_seconds=60)
    commit(journal, run.enter("R"), owner="far")
    assert recover(url) == []

    journal.register(far, lease_seconds=0)
    (report,) = recover(url)

    assert (report.owner, report.crashed, report.problem) == ("far", 1, None)
    ((message,),) = read_told()
    begin = (
        "The process that executed it (pid 7 on far-away) is silent: its lease ran out. Finished"
    )
    assert message.startswith(begin)
    (row,) = journal.runs(RunQuery(run_type="flow"))
    assert (row.name, row.state_name, row.message) == ("lost-run", "Crashed", message)


@pytest.mark.parametrize("taken_over", [True, False])
def test_what_was_spooled_does_not_undo_a_takeover(
    url: str, journal: Journal, tmp_path: Path, taken_over: bool
) -> None:
    """A run that another host let crash owes no on_completion; else the spool comes first."""
    root, dead_owner = owners_folder(url), describe()._replace(main_file=None)
    assert root is not None
    fence = journal.register(dead_owner, lease_seconds=60)
    run = ARun(reference="nowhere:etl")
    commit(journal, run.enter("PR"), fence=fence)
    folder = LockedFolder.create(root, dead_owner)
    leave(folder.path, run.enter("C", HOOK))
    if taken_over:
        journal.end(dead_owner.id, "silent")
        run.sequence = 1
        commit(journal, run.enter("X"), owner="another")
    folder.release()

    (report,) = recover(url)

    assert (report.crashed, report.problem) == (0, None)
    (row,) = journal.runs(RunQuery())
    assert row.state_name == ("Crashed" if taken_over else "Completed")
    hooks = [delivery.hook for delivery in journal.deliveries(DeliveryQuery())]
    assert hooks == ([] if taken_over else ["alerts:page"])
    assert owner_folders(url) == []


class Away:
    """Work that fails so often; `pauses` are those between the attempts."""

    def __init__(self, failures: int, error: JournalError) -> None:
        self.failures = failures
        self.error = error
        self.pauses: list[float] = []

    def __call__(self) -> OwnerRow:
        if len(self.pauses) < self.failures:
            raise self.error
        return an_owner("back")


@pytest.fixture
def dead_folder(tmp_path: Path) -> Iterator[LockedFolder]:
    folder = LockedFolder.create(tmp_path / "owners", describe())
    yield folder
    folder.release()


def test_a_recovery_waits_until_the_journal_answers(
    dead_folder: LockedFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With longer and longer pauses, up to a limit; it says so once."""
    away = Away(9, JournalError("The journal is away."))
    monkeypatch.setattr("eventflow.recovery.owner.time.sleep", away.pauses.append)

    assert _when_it_answers(away, dead_folder) == an_owner("back")

    assert away.pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert caplog.text.count("The journal is away.") == 1


def test_a_recovery_waits_only_while_there_is_something_to_deliver(
    dead_folder: LockedFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when the folder was deleted, and not where waiting does not help."""
    away = Away(10**6, JournalError("away"))

    def pause(seconds: float) -> None:
        away.pauses.append(seconds)
        if len(away.pauses) == 3:
            shutil.rmtree(dead_folder.path)

    monkeypatch.setattr("eventflow.recovery.owner.time.sleep", pause)
    newer = Away(1, NewerSchemaError("x", 99, 1))
    with pytest.raises(NewerSchemaError):
        _when_it_answers(newer, dead_folder)
    with pytest.raises(JournalError, match="away"):
        _when_it_answers(away, dead_folder)

    assert (len(newer.pauses), len(away.pauses)) == (0, 3)


def test_a_report_is_a_sentence() -> None:
    """With what was done, or with the problem."""
    report = Report("a1", "here", 7, crashed=2, delivered=1)

    assert str(report).startswith("The owner a1 (pid 7 on here) is recovered: 2 runs Crashed")
    assert str(report._replace(problem="why")) == "The owner a1 is not recovered: why"
