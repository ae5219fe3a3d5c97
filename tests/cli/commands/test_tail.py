"""`eventflow tail`: transitions and users' own events of other processes, as they happen."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from eventflow import settings
from eventflow.events import parse
from eventflow.journal import open_journal
from eventflow.journal.contract import Journal
from eventflow.journal.rows import micros
from tests.cli.conftest import Invoke, Spawn
from tests.cli.sample_journal import COMPLETED, RUNNING, Sample, fill, record_run
from tests.journal.rows import commit, forget, own_event


def test_tail_of_a_run_ends_with_it(invoke: Invoke, sample: Sample) -> None:
    """From its first event to its last, with those of the runs that it called."""
    result = invoke("tail", "--run", "brave-otter", "--json")
    assert result.exit_code == 0
    events = [parse(line) for line in result.stdout.splitlines()]
    assert {event.run_id for event in events} == {sample.failed, *sample.tasks}
    own = [event.sequence for event in events if event.run_id == sample.failed]
    assert own == [0, 1, 2, 3, 4]


def test_only_some_states_are_shown(invoke: Invoke, sample: Sample) -> None:
    """A line each: time, run, state, and error."""
    result = invoke("tail", "--run", "brave-otter", "--state", "Failed")
    first, second = result.stdout.splitlines()
    assert "✗ Failed        etl/brave-otter  ValueError: no such table" in first
    assert sample.tasks[1].hex[-8:] in second


PROGRAM = """
from eventflow import flow

@flow
def short():
    pass

short()
"""


def test_tail_shows_what_ended_processes_have_left(spawn: Spawn, tmp_path: Path) -> None:
    """The first makes the journal, the second ends while it is followed."""
    process = spawn("tail", "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    assert "yet; waiting for it." in process.stderr.readline()
    for _ in range(2):
        subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, check=True)
        states = [json.loads(process.stdout.readline())["to_state"]["name"] for _ in range(3)]
        assert states == ["Pending", "Running", "Completed"]
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_tail_shows_other_processes_live_and_ends_cleanly(
    spawn: Spawn, tmp_path: Path, signum: signal.Signals
) -> None:
    """It waits for a journal, makes none, and shows what is committed, until Ctrl-C."""
    process = spawn("tail", "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    assert "yet; waiting for it." in process.stderr.readline()
    assert not (tmp_path / "home").exists()
    journal = open_journal(settings.EVENTFLOW_JOURNAL_URL.value())
    for _ in range(2):
        # The second is written once the first is read: each is shown at once.
        run = record_run(journal, COMPLETED)
        lines = [json.loads(process.stdout.readline()) for _ in range(3)]
        assert {line["run_id"] for line in lines} == {str(run)}
        assert [line["sequence"] for line in lines] == [0, 1, 2]
    journal.close()
    process.send_signal(signum)
    out, err = process.communicate(timeout=30)
    assert out == ""
    if signum is signal.SIGINT:
        assert (process.returncode, err) == (0, "")


def test_tail_begins_now_by_default(spawn: Spawn) -> None:
    """With --since it begins with past events."""
    journal = open_journal(settings.EVENTFLOW_JOURNAL_URL.value())
    sample = fill(journal)
    process = spawn("tail", "--since", "2m", "--json")
    assert process.stdout is not None
    lines = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert {line["run_id"] for line in lines} == {str(sample.running)}
    new = record_run(journal, RUNNING)
    # By its own clock it happened before the given time.
    newer = record_run(journal, RUNNING, ago=timedelta(0))
    line = json.loads(process.stdout.readline())
    assert line["run_id"] == str(newer) != str(new)
    journal.close()


def test_tail_begins_before_what_the_feed_keeps(spawn: Spawn) -> None:
    """With the transitions of long ago, in the order of time; then it goes on with new ones."""
    journal = open_journal(settings.EVENTFLOW_JOURNAL_URL.value())
    sample = fill(journal)
    forget(journal)
    process = spawn("tail", "--since", "90d", "--json")
    assert process.stdout is not None
    lines = [json.loads(process.stdout.readline()) for _ in range(18)]
    times = [line["occurred"] for line in lines]
    assert times == sorted(times)
    assert {line["run_id"] for line in lines[:3]} == {str(sample.old)}
    new = record_run(journal, RUNNING)
    assert json.loads(process.stdout.readline())["run_id"] == str(new)
    journal.close()


# -- users' own events ---------------------------------------------------------------------------

PUBLISHES = """
from eventflow import Event, bus, flow
from pydantic import SecretStr

class Placed(Event):
    order: int
    note: str = "\x1b[2J\u202e"
    token: SecretStr = SecretStr("hush")

@flow
def shop():
    bus.publish(Placed(order=7))

shop()
"""


def commit_event(journal: Journal, kind: str, text: str) -> UUID:
    """Commit a user's own event, which has occurred just now."""
    key = uuid4()
    commit(journal, own_event(micros(datetime.now(UTC)), text, kind, key.int))

    return key


def test_own_events_are_shown(spawn: Spawn, folder: Path) -> None:
    """With the fields of their class; nothing in them acts on a terminal, nor shows a secret."""
    (folder / "shop.py").write_text(PUBLISHES)
    process = spawn("tail")
    assert process.stdout is not None
    assert process.stderr is not None
    # Once it follows the journal.
    assert "yet; waiting for it." in process.stderr.readline()
    subprocess.run([sys.executable, folder / "shop.py"], check=True)
    lines = [process.stdout.readline() for _ in range(4)]
    (line,) = [line for line in lines if "__main__.Placed" in line]
    moment, fields = line.rstrip("\n").split("  {")
    assert re.fullmatch(r"[0-9:.]+  [0-9a-f]{8}  __main__\.Placed", moment)
    assert fields == r'"order": 7, "note": "\u001b[2J\u202e", "token": "********"}'


def test_own_events_are_shown_as_json(spawn: Spawn) -> None:
    """As they were published; of one that was too large, what is known."""
    journal = open_journal(settings.EVENTFLOW_JOURNAL_URL.value())
    commit_event(journal, "shop.Before", "{}")
    process = spawn("tail", "--since", "1h", "--json")
    assert process.stdout is not None
    assert process.stdout.readline() == "{}\n"
    text = '{"order":7,"note":"\\u001b\u202e"}'
    commit_event(journal, "shop.Placed", text)
    large = commit_event(journal, "shop.Large", "")

    line = process.stdout.readline()
    assert json.loads(line) == json.loads(text)
    assert line.isascii()
    known = json.loads(process.stdout.readline())
    assert (known["id"], known["type"]) == (str(large), "shop.Large")
    assert datetime.fromisoformat(known["occurred"]).tzinfo is not None
    journal.close()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"id":"x","occurred":"x","follows":null,"type":"x","order":7}', '{"order": 7}'),
        ('{"id":"x","occurred":"x","follows":null,"type":"x"}', ""),
        ("[7]", "[7]"),
        ("", "(too large for the journal)"),
    ],
)
def test_the_line_of_an_own_event(spawn: Spawn, text: str, shown: str) -> None:
    """What all events have is not repeated; what is no object is shown as it is."""
    journal = open_journal(settings.EVENTFLOW_JOURNAL_URL.value())
    commit_event(journal, "shop.\x1bPlaced", text)
    journal.close()
    process = spawn("tail", "--since", "1h")
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.split("  ", 2)[2].rstrip() == f"shop.\\x1bPlaced  {shown}".rstrip()


def test_a_line_on_a_terminal_is_cut_to_its_width(spawn: Spawn) -> None:
    """Where a transition is wrapped, the JSON of an event is cut."""
    journal = open_journal(settings.EVENTFLOW_JOURNAL_URL.value())
    commit_event(journal, "shop.Placed", json.dumps({"note": "x" * 1_000}))
    journal.close()
    master, slave = os.openpty()
    spawn("tail", "--since", "1h", stdout=slave, env={"COLUMNS": "60", "NO_COLOR": "1"})
    os.close(slave)
    with os.fdopen(master, "rb") as terminal:
        line = re.sub(r"\x1b\[[0-9;]*m", "", terminal.readline().decode())
    assert len(line.rstrip("\r\n")) == 60
    assert line.rstrip().endswith("xxx…")


@pytest.mark.parametrize("option", ["--state=Completed", "--run=brave-otter"])
def test_own_events_are_of_no_run_and_in_no_state(spawn: Spawn, option: str) -> None:
    """With --run or --state they are left out."""
    journal = open_journal(settings.EVENTFLOW_JOURNAL_URL.value())
    commit_event(journal, "shop.Placed", "{}")
    run = record_run(journal, COMPLETED, name="brave-otter")
    journal.close()
    process = spawn("tail", "--since", "1h", "--json", option)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["run_id"] == str(run)
