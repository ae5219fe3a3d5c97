"""What a process that was killed left behind is finished by another one."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest

from eventflow.hooks.declaration import Hook
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal import open_journal
from eventflow.journal.contract import DeliveryQuery, Journal, RunQuery
from eventflow.journal.rows import DeliveryRow, EventRow, RunRow
from eventflow.owners.folders import describe, owners_folder
from eventflow.primitives.ids import new_id
from eventflow.recovery import __main__ as recovery
from eventflow.recovery import finishing
from eventflow.recovery.owner import Report
from eventflow.recovery.supervisor import recover
from eventflow.states import StateType
from tests.journal.rows import line_of

# What each script begins with: `tell` writes a line to where the test looks.
HEAD = """
import json, os, signal, sys
from eventflow import flow, get_run_logger, hook, runtime, task

def tell(*facts):
    with open("told", "a") as told:
        told.write(json.dumps(facts) + "\\n")

def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Killed(Protocol):
    def __call__(self, script: str, *, code: int = -signal.SIGKILL) -> None: ...


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the URL of a journal, for this process and its children, without guardians."""
    text = f"sqlite:///{tmp_path / 'journal.db'}"
    monkeypatch.setenv("EVENTFLOW_JOURNAL_URL", text)
    monkeypatch.setenv("EVENTFLOW_GUARDIAN", "false")
    return text


@pytest.fixture
def killed(tmp_path: Path, url: str) -> Killed:
    """Give a function that runs a script which does not live to its end."""

    def run(script: str, *, code: int = -signal.SIGKILL) -> None:
        (tmp_path / "script.py").write_text(HEAD + script)
        ended = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, check=False, timeout=60)
        assert ended.returncode == code, url

    return run


@pytest.fixture
def told(tmp_path: Path) -> Callable[[], list[Any]]:
    """Give a function that reads what hooks have told."""

    def read() -> list[Any]:
        path = tmp_path / "told"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    return read


@pytest.fixture
def journal(url: str) -> Journal:
    return open_journal(url)


def remains(url: str) -> list[str]:
    folder = owners_folder(url)
    assert folder is not None
    return [one.name for one in folder.iterdir() if one.is_dir()]


def statuses(journal: Journal) -> list[tuple[str, str, int]]:
    rows = journal.deliveries(DeliveryQuery())
    return [(one.hook, one.status.value, one.attempts) for one in rows]


def test_runs_of_a_killed_process_crash_children_first(
    killed: Killed, url: str, journal: Journal, told: Callable[[], list[Any]]
) -> None:
    """Every run that had no end is Crashed, the task before its flow, and hooks hear of it."""
    killed(
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
    assert len(remains(url)) == 1

    (report,) = recover(url)

    assert report.problem is None
    assert (report.crashed, report.delivered, report.dead) == (2, 0, 0)
    message = "The process that executed it"
    assert told() == [
        ["step", True, {"n": 8}, ["t"], message, 1, 1, "step", True],
        ["etl", True, {"x": 7}, [], message, 1, 1, "etl", True],
    ]
    flow_run, task_run = journal.runs(RunQuery())[::-1]
    assert (flow_run.state_name, task_run.state_name) == ("Crashed", "Crashed")
    assert (flow_run.reference, flow_run.name) == ("__main__:etl", "run-7")
    assert flow_run.message is not None
    assert f"(pid {report.pid} on {report.host}) vanished." in flow_run.message
    before, after = journal.events(flow_run.id)[-2:]
    assert after.follows == before.id
    assert remains(url) == []
    assert journal.verify() == []
    assert recover(url) == []


def test_a_hook_that_was_cut_off_is_run_again(
    killed: Killed, url: str, journal: Journal, told: Callable[[], list[Any]]
) -> None:
    """What is owed of earlier transitions comes first, in order, of the run as it stood then."""
    killed(
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

    assert (report.crashed, report.delivered, report.problem) == (1, 2, None)
    assert told() == [
        ["first", "Running"],
        ["second", "Running", "Running", 1, 1, True],
        ["second", "Running", "Running", 1, 2, True],
        ["third", "Running", 1],
        ["crashed"],
    ]
    assert [one[1:] for one in statuses(journal)] == [
        ("delivered", 1),
        ("delivered", 2),
        ("delivered", 1),
        ("delivered", 1),
    ]


def test_a_hook_that_kills_its_process_ends_among_the_dead(
    killed: Killed, url: str, journal: Journal, told: Callable[[], list[Any]]
) -> None:
    """Its attempts are counted before they begin; the rest of what is owed is not lost by it."""
    killed(
        """
def fatal(flow, run, state):
    tell("fatal", runtime.hook.attempt)
    die()

@flow(on_running=[fatal], on_crashed=[lambda flow, run, state: tell("crashed")])
def etl(): ...

etl()
"""
    )

    reports = [recover(url) for _ in range(3)]

    assert [told for told in told() if told[0] == "fatal"] == [["fatal", n] for n in (1, 2, 3)]
    assert told()[-1] == ["crashed"]
    assert [any(one.problem for one in some) for some in reports] == [True, True, False]
    (dead,) = journal.deliveries(DeliveryQuery(statuses=[DeliveryStatus.DEAD]))
    assert dead.attempts == 3
    assert remains(url) == []
    assert journal.verify() == []


def test_a_hook_that_is_gone_is_a_dead_letter_until_it_is_redriven(
    killed: Killed, url: str, journal: Journal, tmp_path: Path, told: Callable[[], list[Any]]
) -> None:
    """A hook that is not found says so in its delivery, and is run when it is there again."""
    killed(
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
    killed((tmp_path / "script.py").read_text().removeprefix(HEAD))
    (tmp_path / "there.py").unlink()

    (report,) = recover(url)

    assert (report.crashed, report.dead, report.problem) == (1, 1, None)
    (dead,) = journal.deliveries(DeliveryQuery())
    assert dead.status is DeliveryStatus.DEAD
    assert "there:hook was not found again" in (dead.error or "")

    here = (
        "import json\ndef hook(flow, run, state):\n    print(json.dumps(['found', run.state_name]),"
    )
    (tmp_path / "there.py").write_text(f"{here} file=open('told', 'a'), flush=True)\n")
    assert journal.redrive([dead.id]) == 1
    (report,) = recover(url)

    assert (report.crashed, report.delivered, report.problem) == (0, 1, None)
    assert told() == [["found", "Running"]]
    assert recover(url) == []


def test_what_only_a_copy_or_the_bus_has_is_found_in_the_spool_too(
    killed: Killed, url: str, journal: Journal, tmp_path: Path, told: Callable[[], list[Any]]
) -> None:
    """Hooks of a copy and for all are found; an unfinished last line in the spool is left out."""
    killed(
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
    (name,) = remains(url)
    folder = owners_folder(url)
    assert folder is not None
    (folder / name / "spool-9.jsonl").write_bytes(b'{"runs":[["half')

    (report,) = recover(url)

    assert (report.crashed, report.problem) == (2, None)
    assert told() == [["own", "copy", True], ["everywhere", "copy"], ["everywhere", "outer"]]
    assert journal.verify() == []


def test_the_guardian_delivers_what_no_file_declares(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, told: Callable[[], list[Any]]
) -> None:
    """A closure, a hook added at run time and one of `python -c` survive by value."""
    monkeypatch.setenv("EVENTFLOW_GUARDIAN", "true")
    os.mkfifo(tmp_path / "end")
    script = (
        HEAD
        + """
def made(word):
    def closure(flow, run, state): tell(word, flow.name)
    return closure

def last(flow, run, state):
    with open("end", "w") as end: end.write("done")

def main():
    @flow(on_crashed=[made("closure")])
    def local():
        die()
    local.on_crashed(lambda flow, run, state: tell("lambda"))
    local.on_crashed(last)
    local()

main()
"""
    )
    reader = os.open(tmp_path / "end", os.O_RDONLY | os.O_NONBLOCK)
    ended = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL

    select.select([reader], [], [], 60)
    os.close(reader)

    assert told() == [["closure", "local"], ["lambda"]]


def test_an_owner_of_another_machine_is_recovered_when_its_lease_ran_out(
    url: str, journal: Journal, tmp_path: Path, told: Callable[[], list[Any]]
) -> None:
    """What only the journal knows is finished as well, with the files as they are here."""
    (tmp_path / "job.py").write_text(
        f"{HEAD}\n@flow(on_crashed=[lambda f, r, state: tell(state.message)])\ndef etl(): ...\n"
    )
    now = datetime.now(UTC)
    far = describe()._replace(
        id="far",
        host="far-away",
        pid=7,
        main_file=None,
        cwd=str(tmp_path),
        sys_path=(f"{tmp_path}",),
    )
    run_id, state_id = new_id(), new_id()
    row = RunRow(
        *(
            run_id,
            "flow",
            "lost-run",
            "etl",
            "job:etl",
            None,
            (),
            None,
            None,
            run_id,
            run_id,
            "far",
        ),
        *(now, now, None, 0.0, 1, 0, state_id, StateType.RUNNING, "Running", now, None),
    )
    event = EventRow(state_id, run_id, 0, StateType.RUNNING, "Running", now, 1, None, None, None)
    journal.register(far, lease_seconds=60)
    journal.commit_lines([line_of(runs=[row], events=[event])])
    assert recover(url) == []

    journal.register(far, lease_seconds=0)
    (report,) = recover(url)

    assert (report.owner, report.crashed, report.problem) == ("far", 1, None)
    message = "The process that executed it (pid 7 on far-away) is silent: its lease ran out."
    assert told() == [[message]]
    (run,) = journal.runs(RunQuery(run_type="flow"))
    assert (run.name, run.state_name, run.message) == ("lost-run", "Crashed", message)


def test_a_retry_is_not_waited_for_because_of_a_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An attempt that is due in a year, for the clock was set back, waits for its delay at most."""
    slept: list[float] = []
    monkeypatch.setattr("eventflow.recovery.finishing.time.sleep", slept.append)
    hook = Hook(print, retries=3, retry_delay_seconds=[1, 2, 3])
    due = datetime.now(UTC) + timedelta(days=365)
    owed = DeliveryRow(new_id(), new_id(), new_id(), 0, hook.id, importable=True, attempts=2)

    finishing._wait(hook, owed._replace(due=due))
    finishing._wait(hook, owed._replace(due=datetime.now(UTC) - timedelta(days=1)))
    finishing._wait(hook, owed)

    assert slept == [2, 0]


def test_recovery_can_be_run_for_whatever_there_is(killed: Killed, journal: Journal) -> None:
    """`python -m eventflow.recovery` recovers all, and its exit code says whether that worked."""
    killed("@flow\ndef etl(): die()\netl()\n")
    command = [sys.executable, "-m", "eventflow.recovery"]

    assert subprocess.run(command, check=False, timeout=60).returncode == 0

    (run,) = journal.runs(RunQuery())
    assert run.state_name == "Crashed"
    assert subprocess.run([*command, "--owner", "/not/there"], check=False).returncode == 0


def test_a_chain_of_recoveries_has_an_end(
    killed: Killed, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recoveries that each are ended by the next one's cause do not go on for ever."""
    killed("@flow\ndef etl(): die()\netl()\n")
    monkeypatch.setenv("EVENTFLOW_RECOVERY_GENERATION", "100")

    (report,) = recover(url)

    assert "in vain" in (report.problem or "")
    assert len(remains(url)) == 1


def test_a_chain_of_recoveries_slows_down() -> None:
    """The first follow at once; after ten each waits longer, so that a mistake costs little."""
    assert {recovery._pause(generation) for generation in range(1, 11)} == {0.0}
    assert [recovery._pause(generation) for generation in (11, 12, 50)] == [0.5, 1.0, 20.0]


def test_a_recovery_that_cannot_be_started_is_reported(
    killed: Killed, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost when there is no interpreter to recover with; it is said."""
    killed("@flow\ndef etl(): die()\netl()\n")
    monkeypatch.setattr("eventflow.recovery.supervisor.recovery_command", lambda *_: ["/not/there"])

    (report,) = recover(url)

    assert "cannot be started" in (report.problem or "")
    assert len(remains(url)) == 1


def test_a_report_speaks_for_itself() -> None:
    """A report is a sentence for people."""
    done = Report("a1", "here", 7, crashed=2, delivered=1)

    assert str(done).startswith("The owner a1 (pid 7 on here) is recovered: 2 runs Crashed")
    assert str(done._replace(problem="why")) == "The owner a1 is not recovered: why"
