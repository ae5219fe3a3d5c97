"""`eventflow cancel`: a run in another process is asked to end, and its end is waited for."""

from __future__ import annotations

import json
import threading

import pytest

from eventflow import settings
from eventflow.journal import open_journal
from eventflow.journal.contract import START
from eventflow.journal.records import LETTERS
from eventflow.states import StateType
from tests.cli.conftest import Invoke, Spawn
from tests.cli.sample_journal import OWNER, Sample
from tests.journal.rows import ARun, commit


def answering(sample: Sample, *kinds: StateType) -> threading.Thread:
    """Start an owner that enters these states once the cancellation is requested."""

    def answer() -> None:
        pause = threading.Event()
        while not (requested := sample.journal.cancels(OWNER)):
            pause.wait(0.005)
        for run_id in requested:
            assert run_id == sample.running
            enter(sample, *kinds)

    thread = threading.Thread(target=answer)
    thread.start()

    return thread


def enter(sample: Sample, *kinds: StateType) -> None:
    """Have the run without end enter these states; a final one ends it."""
    row = sample.journal.run(sample.running)
    assert row is not None
    run = ARun(id=row.id.int, created=row.created)
    run.sequence = row.sequence
    for kind in kinds:
        commit(sample.journal, run.enter(LETTERS[kind]), owner=OWNER)


@pytest.mark.parametrize(
    ("kinds", "outcome", "code"),
    [
        ([StateType.CANCELLING, StateType.CANCELLED], "cancelled", 0),
        ([StateType.COMPLETED], "ended otherwise", 1),
    ],
)
def test_the_end_of_the_run_is_waited_for(
    invoke: Invoke, sample: Sample, kinds: list[StateType], outcome: str, code: int
) -> None:
    """The outcome says which end it was."""
    owner = answering(sample, *kinds)
    result = invoke("cancel", "quick-hare", "--json", "--timeout", "60")
    owner.join()
    document = json.loads(result.stdout)
    assert (document["outcome"], result.exit_code) == (outcome, code)
    assert document["run"]["state"]["type"] == kinds[-1]


def test_the_outcome_is_printed(invoke: Invoke, sample: Sample) -> None:
    """Requested, still cancelling at the timeout, and ended before the request."""
    owner = answering(sample, StateType.CANCELLING)
    requested = invoke("cancel", "quick-hare", "--no-wait")
    owner.join()
    assert requested.exit_code == 0
    assert requested.stdout.startswith("Asked stream/quick-hare to end; it is • Running")
    still = invoke("cancel", "quick-hare", "--timeout", "0.01")
    assert still.exit_code == 1
    assert still.stdout == ("stream/quick-hare is being cancelled, and not through after 0.01 s.\n")
    enter(sample, StateType.CANCELLED)
    before = invoke("cancel", "quick-hare")
    assert before.exit_code == 1
    assert before.stdout == "stream/quick-hare had ended before: ■ Cancelled.\n"


def test_a_run_of_another_process_is_cancelled(spawn: Spawn) -> None:
    """The flow is in a blocking wait, and its process ends with the code of a cancelled run."""
    running = spawn("run", "--no-trace", "flows.py:waits")
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    journal = open_journal(settings.EVENTFLOW_JOURNAL_URL.value())
    journal.wait(START, 30)
    journal.close()
    listed = spawn("runs", "ls", "--json", "--unfinished")
    (unfinished,) = json.loads(listed.communicate(timeout=60)[0])
    asking = spawn("cancel", unfinished["id"], "--timeout", "60")
    out, err = asking.communicate(timeout=90)
    assert (asking.returncode, err) == (0, "")
    assert out.endswith("is ■ Cancelled.\n")
    assert running.wait(timeout=60) == 1


def test_a_cancellation_of_a_dead_owner_says_what_to_do(
    invoke: Invoke, killed_owner: Sample
) -> None:
    """Its run cannot be cancelled, only recovered."""
    result = invoke("cancel", "quick-hare", "--timeout", "0.01")
    assert result.exit_code == 1
    assert result.stdout == "stream/quick-hare was asked to end, and is Running after 0.01 s.\n"
    assert result.stderr == "Its process is gone: eventflow recover brings it to an end.\n"
