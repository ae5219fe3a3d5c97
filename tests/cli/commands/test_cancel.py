"""`eventflow cancel`: asking a run to end in another process, and what comes of it."""

from __future__ import annotations

import json
import threading

import pytest

from eventflow import settings
from eventflow.journal import open_journal
from eventflow.journal.contract import Journal
from eventflow.journal.rows import RunRow
from eventflow.states import StateType
from tests.cli.conftest import Invoke, Spawn
from tests.cli.story import OWNER, Story
from tests.journal.rows import entering, later


def answering(journal: Journal, *kinds: StateType) -> threading.Thread:
    """Have an owner hear of the cancellation and take its run through these states."""

    def attend() -> None:
        turn = threading.Event()
        while not (asked := journal.cancels(OWNER)):
            turn.wait(0.005)
        for run_id in asked:
            row = journal.run(run_id)
            assert row is not None
            enter(journal, row, *kinds)

    thread = threading.Thread(target=attend)
    thread.start()

    return thread


def enter(journal: Journal, row: RunRow, *kinds: StateType) -> None:
    """Take a run through states; the last of several ends it."""
    for kind in kinds:
        row = later(row, kind, ends=kind in {StateType.CANCELLED, StateType.COMPLETED})
        journal.commit_lines([entering(row)])


@pytest.mark.parametrize(
    ("kinds", "outcome", "code"),
    [
        ([StateType.CANCELLING, StateType.CANCELLED], "cancelled", 0),
        ([StateType.COMPLETED], "ended otherwise", 1),
    ],
)
def test_what_comes_of_it_is_waited_for(
    invoke: Invoke, told_story: Story, kinds: list[StateType], outcome: str, code: int
) -> None:
    """The run's end is told, whichever it is."""
    owner = answering(told_story.journal, *kinds)
    ended = invoke("cancel", "quick-hare", "--json", "--timeout", "60")
    owner.join()
    document = json.loads(ended.stdout)
    assert (document["outcome"], ended.exit_code) == (outcome, code)
    assert document["run"]["state"]["type"] == kinds[-1]


def test_it_is_said_in_words(invoke: Invoke, told_story: Story) -> None:
    """A second time it had ended before; of a run that closes down still, how long it was."""
    owner = answering(told_story.journal, StateType.CANCELLING)
    owner_hears = invoke("cancel", "quick-hare", "--no-wait")
    owner.join()
    assert owner_hears.exit_code == 0
    assert owner_hears.stdout.startswith("Asked stream/quick-hare to end; it is • Running")
    still = invoke("cancel", "quick-hare", "--timeout", "0.01")
    assert still.exit_code == 1
    assert still.stdout == ("stream/quick-hare is being cancelled, and not through after 0.01 s.\n")
    row = told_story.journal.run(told_story.running)
    assert row is not None
    enter(told_story.journal, row, StateType.CANCELLED)
    before = invoke("cancel", "quick-hare")
    assert before.exit_code == 1
    assert before.stdout == "stream/quick-hare had ended before: ■ Cancelled.\n"


def test_a_run_of_another_process_is_cancelled(spawn: Spawn) -> None:
    """For real: the flow is in a blocking wait, its process ends as one that was cancelled."""
    running = spawn("run", "--no-trace", "flows.py:waits")
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    journal = open_journal(settings.EVENTFLOW_JOURNAL_URL.value())
    journal.wait((0, 0), 30)
    journal.close()
    listed = spawn("runs", "ls", "--json", "--unfinished")
    (found,) = json.loads(listed.communicate(timeout=60)[0])
    asking = spawn("cancel", found["id"], "--timeout", "60")
    out, err = asking.communicate(timeout=90)
    assert (asking.returncode, err) == (0, "")
    assert out.endswith("is ■ Cancelled.\n")
    assert running.wait(timeout=60) == 1
