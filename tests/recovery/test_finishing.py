"""The hooks that dead runs owe: run again, in order, until they are delivered or dead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from eventflow.hooks.declaration import Hook
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import DeliveryQuery, Journal
from eventflow.journal.rows import DeliveryRow
from eventflow.primitives.ids import new_id
from eventflow.recovery.finishing import wait_until_due
from eventflow.recovery.supervisor import recover
from tests.recovery.scripts import HEAD, ReadTold, RunKilled, deliveries, owner_folders


def test_a_hook_that_was_killed_is_run_again(
    run_killed: RunKilled, url: str, journal: Journal, read_told: ReadTold
) -> None:
    """Hooks of earlier transitions come first, in order, and see the run as it was then."""
    run_killed(
        """
def first(flow, run, state): tell("first", state.name)
def second(flow, run, state):
    tell("second", state.name, run.state_name, run.run_count, runtime.hook.attempt,
         run.end_time is None)
    if runtime.hook.attempt == 1: die()
def third(flow, run, state): tell("third", state.name, runtime.hook.attempt)
def crashed(flow, run, state): tell("crashed")

@flow(on_running=[first, second, third], on_crashed=[crashed])
def etl(): ...

if __name__ == "__main__":
    etl()
"""
    )

    (report,) = recover(url)

    assert (report.crashed, report.delivered, report.problem) == (1, 3, None)
    assert read_told() == [
        ["first", "Running"],
        ["second", "Running", "Running", 1, 1, True],
        ["second", "Running", "Running", 1, 2, True],
        ["third", "Running", 1],
        ["crashed"],
    ]
    assert [(status, attempts) for _, status, attempts in deliveries(journal)] == [
        ("delivered", 1),
        ("delivered", 2),
        ("delivered", 1),
        ("delivered", 1),
    ]


def test_a_hook_that_ended_its_own_transaction_owes_nothing_more(
    run_killed: RunKilled, url: str, journal: Journal
) -> None:
    """Killed before it returned: its acknowledgement is that of the transaction."""
    run_killed(
        """
def done(flow, run, state):
    with runtime.hook.transaction() as connection:
        connection.execute("CREATE TABLE mine (x INT)")
    die()

@flow(on_completion=[done])
def etl(): ...

if __name__ == "__main__":
    etl()
"""
    )

    recover(url)

    assert [status for _, status, _ in deliveries(journal)] == ["delivered"]
    assert journal.verify() == []
    assert journal.prune(older_than=datetime.now(UTC) + timedelta(days=1)).runs == 1


def test_what_was_settled_out_of_order_stays_so(
    run_killed: RunKilled, url: str, journal: Journal
) -> None:
    """An interrupted hook is run again; a dead one behind it is not."""
    run_killed(
        """
def interrupted(flow, run, state):
    if runtime.hook.attempt == 1: raise KeyboardInterrupt
def dead(flow, run, state): raise ValueError
def kills(flow, run, state):
    if runtime.hook.attempt == 1: die()

@flow(on_running=[interrupted, dead, kills])
def etl(): ...

if __name__ == "__main__":
    etl()
"""
    )

    recover(url)

    assert [(status, attempts) for _, status, attempts in deliveries(journal)] == [
        ("delivered", 2),
        ("dead", 1),
        ("delivered", 2),
    ]
    assert journal.verify() == []


def test_a_hook_that_kills_its_process_is_a_dead_letter(
    run_killed: RunKilled, url: str, journal: Journal, read_told: ReadTold
) -> None:
    """Its attempts are counted before they begin; the other hooks are run all the same."""
    run_killed(
        """
def fatal(flow, run, state):
    tell("fatal", runtime.hook.attempt)
    die()

def crashed(flow, run, state): tell("crashed")

@flow(on_running=[fatal], on_crashed=[crashed])
def etl(): ...

etl()
"""
    )

    reports = recover(url)

    assert [facts for facts in read_told() if facts[0] == "fatal"] == [
        ["fatal", n] for n in (1, 2, 3)
    ]
    assert read_told()[-1] == ["crashed"]
    assert [report.problem for report in reports if report.problem] == []
    assert (sum(report.crashed for report in reports), sum(report.dead for report in reports)) == (
        1,
        1,
    )
    (dead,) = journal.deliveries(DeliveryQuery(statuses=[DeliveryStatus.DEAD]))
    assert dead.attempts == 3
    assert owner_folders(url) == []
    assert journal.verify() == []


def test_hooks_that_kill_their_process_use_up_their_own_attempts_only(
    run_killed: RunKilled, url: str, journal: Journal, read_told: ReadTold
) -> None:
    """However many there are, there is one process for each of their attempts, and one more."""
    run_killed(
        """
import threading

def fatal(task, run, state):
    tell("fatal", run.parameters["number"], runtime.hook.attempt)
    die()

def crashed(flow, run, state): tell("crashed")

all_running = threading.Barrier(4)

@task(on_crashed=[fatal])
def step(number):
    all_running.wait()
    die()

@flow(on_crashed=[crashed])
def etl(): step.map(range(4)).wait()

if __name__ == "__main__":
    etl()
else:
    tell("loaded")
"""
    )

    reports = recover(url)

    told = read_told()
    fatal = sorted(facts[1:] for facts in told if facts[0] == "fatal")
    assert fatal == [[number, attempt] for number in range(4) for attempt in (1, 2, 3)]
    assert told.count(["crashed"]) == 1
    assert told.count(["loaded"]) <= len(fatal) + 1
    # What the recoveries that were killed have done is counted too.
    done = [(report.crashed, report.delivered, report.dead) for report in reports]
    assert [sum(numbers) for numbers in zip(*done, strict=True)] == [5, 1, 4]
    statistics = journal.statistics()
    assert (statistics.runs, statistics.unfinished) == (5, 0)
    assert statistics.deliveries == {"dead": 4, "delivered": 1}
    assert journal.verify() == []


def test_a_hook_that_is_not_found_is_a_dead_letter(
    run_killed: RunKilled, url: str, journal: Journal, tmp_path: Path, read_told: ReadTold
) -> None:
    """Its delivery has the reason; redriven, it is run when it is found again."""
    run_killed(
        """
import there

@flow(on_running=[there.hook])
def etl(): ...

if __name__ == "__main__":
    etl()
""",
        code=1,
    )
    hook = "def hook(flow, run, state):\n    import os\n    os.kill(os.getpid(), 9)\n"
    (tmp_path / "there.py").write_text(hook)
    run_killed((tmp_path / "script.py").read_text().removeprefix(HEAD))
    (tmp_path / "there.py").unlink()

    (report,) = recover(url)

    assert (report.crashed, report.dead, report.problem) == (1, 1, None)
    (dead,) = journal.deliveries(DeliveryQuery())
    assert dead.status is DeliveryStatus.DEAD
    assert "there cannot be loaded: ModuleNotFoundError" in (dead.error or "")

    restored = (
        "import json\ndef hook(flow, run, state):\n    print(json.dumps(['found', run.state_name]),"
    )
    (tmp_path / "there.py").write_text(f"{restored} file=open('told', 'a'), flush=True)\n")
    assert journal.redrive([dead.id]) == 1
    (report,) = recover(url)

    assert (report.crashed, report.delivered, report.problem) == (0, 1, None)
    assert read_told() == [["found", "Running"]]
    assert recover(url) == []


def test_a_retry_waits_for_its_delay_at_most() -> None:
    """If it is due in a year, as the clock was set back, it is waited for its delay only."""
    slept: list[float] = []
    hook = Hook(print, retries=3, retry_delay_seconds=[1, 2, 3])
    due = datetime.now(UTC) + timedelta(days=365)
    ids = (new_id(), new_id(), new_id())
    owed = DeliveryRow(*ids, 0, 0, hook.id, importable=True, attempts=2)

    wait_until_due(hook, owed._replace(due=due), slept.append)
    wait_until_due(hook, owed._replace(due=datetime.now(UTC) - timedelta(days=1)), slept.append)
    wait_until_due(hook, owed, slept.append)

    assert slept == [2, 0]


def test_what_a_recovery_tells_people(
    run_killed: RunKilled, url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The flow run that crashed, and what its hooks log; no step of the recovery itself."""
    run_killed(
        """
def broken(flow, run, state): raise OSError("no network")

@task
def dies(): die()

@flow
def inner(): dies()

@flow(on_crashed=[broken])
def etl(): inner()

etl()
"""
    )
    capfd.readouterr()

    (report,) = recover(url)

    lines = [line for line in capfd.readouterr().err.splitlines() if line[0].isdigit()]
    assert report.crashed > 1
    assert [line.split()[1] for line in lines] == ["ERROR", "ERROR"]
    assert f"Crashed: The process that executed it (pid {report.pid} on " in lines[0]
    assert "Hook __main__:broken failed on Crashed: OSError: no network (" in lines[1]
