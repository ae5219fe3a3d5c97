"""`eventflow prune`, `verify` and `recover`: keeping the journal small, whole and finished."""

from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from eventflow import settings
from eventflow.cli.commands import recover as command
from eventflow.errors import JournalError
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal import open_journal
from eventflow.journal.contract import DeliveryQuery, RunQuery
from eventflow.owners.folders import LockedFolder, owners_folder
from eventflow.recovery.owner import Report
from tests.cli.conftest import Invoke, Spawn
from tests.cli.story import OWNER, Story, written
from tests.journal.rows import a_run, an_owner, entering


def test_prune_deletes_what_is_old(invoke: Invoke, told_story: Story) -> None:
    """Without options by the settings, which say 30 days; what is left is told."""
    ended = invoke("prune")
    assert ended.exit_code == 0
    assert ended.stdout.startswith("Deleted 1 run with 3 events and 0 deliveries; ")
    assert told_story.journal.run(told_story.old) is None
    assert invoke("prune", "--older-than", "30d").stdout.startswith("Deleted 0 runs with 0 events")


def test_prune_by_size_spares_what_is_still_in_use(invoke: Invoke, told_story: Story) -> None:
    """What could not be reached is said; as JSON everything is counted."""
    ended = invoke("prune", "--max-bytes", "1KB", "--json")
    gone = json.loads(ended.stdout)
    assert gone["runs"] == 4 - len(told_story.journal.runs(RunQuery())) + 1
    assert told_story.journal.run(told_story.running) is not None
    assert "could not be made smaller" in invoke("prune", "--max-bytes", "1").stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--older-than", "soon"], "'soon' is no length of time; write 90s"),
        (["--max-bytes", "much"], "'much' is no size; write 500MB"),
    ],
)
def test_prune_says_how_it_is_written(invoke: Invoke, arguments: list[str], said: str) -> None:
    """A slip of the pen deletes nothing."""
    ended = invoke("prune", *arguments)
    assert ended.exit_code == 2
    assert said in ended.stderr


def test_a_clean_journal_verifies(invoke: Invoke, told_story: Story) -> None:
    """The exit code is 0, and it is said how much was looked at."""
    ended = invoke("verify")
    assert ended.exit_code == 0
    assert ended.stdout.startswith("Nothing is wrong: 5 runs (1 without end), 18 events, 3 deliv")
    document = json.loads(invoke("verify", "--json").stdout)
    assert (document["clean"], document["findings"]) == (True, [])
    assert document["journal"]["unfinished"] == 1


def test_what_is_wrong_is_listed(invoke: Invoke, told_story: Story) -> None:
    """Each finding with its run; the exit code is 1."""
    # Of a run that is older than the journal, the beginning may be missing.
    now = datetime.now(UTC)
    run = a_run(created=now, sequence=2, owner=OWNER, name="gappy", definition="load")
    told_story.journal.commit_lines([entering(run)])
    told_story.journal.end(OWNER, "vanished")
    ended = invoke("verify")
    assert ended.exit_code == 1
    _, *rows = ended.stdout.splitlines()
    kinds = {row.split("  ")[0] for row in rows}
    assert kinds == {"gap", "abandoned"}
    assert any("load/gappy" in row and run.id.hex[-8:] in row for row in rows)
    found = json.loads(invoke("verify", "--json").stdout)
    assert not found["clean"]
    assert str(told_story.running) in {one["run_id"] for one in found["findings"]}


@pytest.fixture
def killed(told_story: Story, monkeypatch: pytest.MonkeyPatch) -> Story:
    """Leave the folder of an owner that a process took and was killed with."""
    folder = owners_folder(settings.EVENTFLOW_JOURNAL_URL.value())
    assert folder is not None
    child = os.fork()
    if child == 0:
        try:
            LockedFolder.create(folder, an_owner(OWNER))
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)

    return told_story


def test_a_run_whose_process_was_just_killed_is_found(invoke: Invoke, killed: Story) -> None:
    """Its owner is not marked as ended: only its lock tells."""
    ended = invoke("verify", "--json")
    assert ended.exit_code == 1
    (found,) = json.loads(ended.stdout)["findings"]
    assert (found["kind"], found["run_id"]) == ("left behind", str(killed.running))
    assert f"({OWNER}) is gone" in found["message"]


def test_a_cancellation_that_nobody_hears_is_told(invoke: Invoke, killed: Story) -> None:
    """The process that should hear of it is gone; what to do is said."""
    ended = invoke("cancel", "quick-hare", "--timeout", "0.01")
    assert ended.exit_code == 1
    assert ended.stdout == "stream/quick-hare was asked to end, and is Running after 0.01 s.\n"
    assert ended.stderr == "Its process is gone: eventflow recover brings it to an end.\n"


def test_what_a_dead_process_left_is_finished(spawn: Spawn, tmp_path: Path) -> None:
    """For real, in processes of their own: the run is Crashed, and nothing is left to do."""
    url = settings.EVENTFLOW_JOURNAL_URL.value()
    journal = open_journal(url)
    story = written(journal)
    journal.redrive(one.id for one in journal.deliveries(DeliveryQuery(hook="alerts:page")))
    journal.end(OWNER, "vanished")
    process = spawn("recover", "--json")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    (report,) = json.loads(out)
    assert (report["owner"], report["crashed"], report["problem"]) == (OWNER, 1, None)
    row = journal.run(story.running)
    assert row is not None
    assert row.state_name == "Crashed"
    (owed,) = journal.deliveries(DeliveryQuery(hook="alerts:page"))
    # Its hook is nowhere to be found: that is the end of it, and not a silent one.
    assert owed.status is DeliveryStatus.DEAD
    journal.close()


REPORTS = [
    Report("owner-1", "host-1", 4711, crashed=1, delivered=2, dead=1),
    Report("owner-2", "host-2", 4712, problem="the journal cannot be written"),
]


def test_reports_are_told(
    invoke: Invoke, told_story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line for each; a problem is exit code 1."""
    monkeypatch.setattr(command, "recover_all", lambda url: REPORTS)
    ended = invoke("recover")
    assert ended.exit_code == 1
    first, second = ended.stdout.splitlines()
    assert first == (
        "✓ process 4711 on host-1 (owner-1): 1 run Crashed, 2 hooks delivered, 1 hook dead "
        "(see: eventflow deliveries ls)"
    )
    assert second == "✗ process 4712 on host-2 (owner-2): the journal cannot be written"
    monkeypatch.setattr(command, "recover_all", lambda url: [])
    nothing = invoke("recover")
    assert (nothing.exit_code, nothing.stdout) == (
        0,
        "No dead process has left anything behind.\n",
    )


def test_watching_goes_on_through_trouble_and_ends_cleanly(
    invoke: Invoke, told_story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trouble is said once, a report each time there is one, and Ctrl-C is the end."""
    turns: list[Any] = [JournalError("down"), JournalError("down"), REPORTS, [REPORTS[1]]]

    def turn(url: str) -> list[Report]:
        if not turns:
            signal.raise_signal(signal.SIGINT)
            return []
        answer = turns.pop(0)
        if isinstance(answer, JournalError):
            raise answer
        return list(answer)

    monkeypatch.setattr(command, "recover_all", turn)
    ended = invoke("recover", "--watch", "--every", "0.001", "--json")
    assert ended.exit_code == 0
    assert ended.stderr == "down\n"
    assert [json.loads(one)["owner"] for one in ended.stdout.splitlines()] == ["owner-1", "owner-2"]


def test_watching_waits_for_a_journal_that_is_not_there(spawn: Spawn, tmp_path: Path) -> None:
    """It is a service: nothing to do yet is no mistake; SIGTERM ends it with 0."""
    process = spawn("recover", "--watch", "--every", "0.05")
    assert process.stderr is not None
    assert process.stderr.readline() == "Watching for dead processes; Ctrl-C ends it.\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    assert not (tmp_path / "home").exists()
