"""Hooks of states that last: delivered by the owner, else by its guardian, or by a recovery."""

from __future__ import annotations

import os
import signal

import pytest

from tests.guarantee.sandbox import Program, Sandbox, wait_until

# The timer of a process that is to be late is stopped by `late`, and goes on with `on_time`.
WORK = """
def slow(definition, run, state):
    record(definition.name, state.name, runtime.hook.attempt, run.parameters["end"])

def late():
    from eventflow.eventbus.deadlines import timer
    timer.run = lambda: None

def on_time():
    from eventflow.eventbus.deadlines import timer
    del timer.run
    timer.run()

@task(hooks=[Hook(slow, state="Running", lasting={lasting})])
def step(end):
    exec(end)

@flow(on_overdue=[slow], overdue_seconds={lasting})
def etl(end):
    step(end)

if __name__ == "__main__":
    {before}
    etl({end!r})
"""
IMPORT = "from eventflow import Hook\nfrom eventflow.testing import flush\n"
BOTH = [["etl", "Running", 1], ["step", "Running", 1]]


def told(sandbox: Sandbox) -> list[list[object]]:
    """Return what hooks have recorded, without the parameters, in the order of names."""
    return sorted(record[:3] for record in sandbox.records() if record[0] in {"etl", "step"})


def start(
    sandbox: Sandbox, end: str, lasting: float = 0.5, before: str = "", **env: str
) -> Program:
    source = WORK.format(end=end, lasting=lasting, before=before or "pass")

    return sandbox.python(IMPORT + source, **env)


def test_the_owner_delivers(sandbox: Sandbox) -> None:
    """While the body goes on, once."""
    program = start(sandbox, "time.sleep(1.5)")

    assert program.end() == 0
    assert told(sandbox) == BOTH
    assert {record.pid for record in sandbox.records()} == {program.pid}
    sandbox.assert_clean()


@pytest.mark.parametrize(
    ("body", "is_stopped"),
    [
        ("flush(); os.kill(os.getpid(), signal.SIGSTOP); on_time()", True),
        ("import ctypes; ctypes.PyDLL(None).getchar(); on_time()", False),
    ],
    ids=["stopped", "holds the interpreter's lock"],
)
def test_the_guardian_delivers_for_an_owner_that_is_stuck(
    sandbox: Sandbox, body: str, is_stopped: bool
) -> None:
    """A grace after it was due; when the owner goes on, it does not do it again."""
    # However slow this machine is, its timer does not look before it is stuck.
    program = start(sandbox, body, before="late()", EVENTFLOW_GUARDIAN_GRACE_SECONDS="0.2")
    wait_until(lambda: told(sandbox) == BOTH, lambda: (sandbox.records(), program))
    assert program.pid not in {record.pid for record in sandbox.records()}
    if is_stopped:
        program.send(signal.SIGCONT)
    else:
        assert program.popen.stdin is not None
        program.popen.stdin.write("\n")
        program.popen.stdin.flush()
    assert program.end() == 0

    assert told(sandbox) == BOTH
    # They had the parameters of the run.
    assert {record[3] for record in sandbox.records()} == {body}
    sandbox.assert_clean()


def test_a_process_stopped_in_a_transaction_of_sqlite(sandbox: Sandbox) -> None:
    """Nobody can write the journal then: the hooks are delivered, once, when it goes on."""
    path = sandbox.url.removeprefix("sqlite:///")
    stop = f"""
import sqlite3
flush()
connection = sqlite3.connect({path!r}, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
record("ready")
os.kill(os.getpid(), signal.SIGSTOP)
connection.rollback()
time.sleep(1)
"""
    program = start(sandbox, stop, 1.0, EVENTFLOW_GUARDIAN_GRACE_SECONDS="0.2")
    sandbox.wait_for_record("ready")
    wait_until(
        lambda: any("--lasting" in command for command in sandbox.processes().values()),
        sandbox.processes,
    )
    assert told(sandbox) == []
    program.send(signal.SIGCONT)

    assert program.end() == 0
    assert told(sandbox) == BOTH
    sandbox.assert_clean()


@pytest.mark.parametrize("was_due", [True, False])
def test_what_was_due_before_a_death_is_delivered(sandbox: Sandbox, was_due: bool) -> None:
    """Then the runs are Crashed; what would have become due later is owed to nobody."""
    lasting = 0.2 if was_due else 2.0
    program = start(sandbox, "time.sleep(0.6); die()", lasting, before="late()")
    program.end()

    assert told(sandbox) == (BOTH if was_due else [])
    assert sandbox.entered("Crashed") == ["step", "etl"]
    sandbox.assert_clean()


@pytest.mark.parametrize("was_due", [True, False])
def test_a_death_of_which_nothing_is_known_but_that_the_run_began(
    sandbox: Sandbox, was_due: bool
) -> None:
    """Its body keeps the interpreter's lock from its first moment on, and ends the process."""
    program = start(
        sandbox,
        "libc and (libc.usleep(400_000), libc.kill(os.getpid(), signal.SIGKILL))",
        lasting=0.2 if was_due else 5.0,
        # The first run of a task is recorded in any case.
        before="global libc; libc = None; step('pass'); flush(); "
        "import ctypes; libc = ctypes.PyDLL(None); sys.setswitchinterval(1000)",
    )
    program.end()

    assert told(sandbox) == (BOTH if was_due else [])
    assert sandbox.entered("Crashed") == ["step", "etl"]
    sandbox.assert_clean()


def test_a_death_while_the_hook_runs(sandbox: Sandbox) -> None:
    """It is begun again by another process: at least once."""
    source = """
    from eventflow import Hook

    def slow(definition, run, state):
        record(definition.name, state.name, runtime.hook.attempt)
        if runtime.hook.attempt == 1:
            die()

    @flow(on_overdue=[slow], overdue_seconds=0.2)
    def etl():
        time.sleep(60)

    if __name__ == "__main__":
        etl()
    """
    sandbox.python(source).end()

    assert told(sandbox) == [["etl", "Running", 1], ["etl", "Running", 2]]
    assert sandbox.entered("Crashed") == ["etl"]
    sandbox.assert_clean()


def test_an_exit_in_time_and_a_guardian_that_has_died(sandbox: Sandbox) -> None:
    """A new guardian is told of the time as well; and nothing is left behind."""
    # Any thread of a process that goes on may take a signal: another one sleeps on meanwhile.
    end = "record('ready')\nwhile True: time.sleep(0.05)"
    program = start(sandbox, end, lasting=3.0, EVENTFLOW_GUARDIAN_GRACE_SECONDS="0.2")
    sandbox.wait_for_record("ready")
    first = sandbox.guardian()
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: sandbox.guardians() not in ([], [first]), sandbox.processes)
    program.send(signal.SIGSTOP)
    wait_until(lambda: told(sandbox) == BOTH, sandbox.records)
    program.send(signal.SIGCONT)
    program.send(signal.SIGTERM)

    assert program.end() == 143
    assert told(sandbox) == BOTH
    sandbox.assert_clean()


@pytest.mark.parametrize("with_guardian", [True, False])
def test_the_hook_for_every_end_is_called_for_a_death(
    sandbox: Sandbox, with_guardian: bool
) -> None:
    """By the guardian, or by a recovery, once for each run."""
    source = """
    @task(on_end=[record_state])
    def step():
        hold()

    @flow(on_end=[record_state])
    def etl():
        step()

    if __name__ == "__main__":
        etl()
    """
    program = sandbox.python(source)
    sandbox.wait_for_record("ready")
    if with_guardian:
        program.send(signal.SIGKILL)
        program.end()
    else:
        sandbox.kill_with_guardian(program)
        assert [report["crashed"] for report in sandbox.recover()] == [2]

    assert told(sandbox) == [["etl", "Crashed", 1], ["step", "Crashed", 1]]
    sandbox.assert_clean()


def test_what_the_guardian_has_claimed_and_not_begun_is_not_lost(sandbox: Sandbox) -> None:
    """It was killed just then, and the owner goes on: what is left of that is recovered."""
    claim = """
from eventflow.owners.claims import claim
from eventflow.primitives.ids import delivery_id
from pathlib import Path
flush()
(folder,) = Path(os.environ["TEST_OWNERS"]).glob("[!.]*")
for run in (runtime.flow_run.id, runtime.task_run.id):
    claim(folder, delivery_id(int(run.replace("-", ""), 16), 1, 2**14).hex, guardian=True)
time.sleep(1)
"""
    program = start(sandbox, claim, 0.5, TEST_OWNERS=str(sandbox.owners))
    assert program.end() == 0, program.output
    sandbox.wait_until_recovered()

    assert told(sandbox) == [["etl", "Completed", 1], ["step", "Running", 1]]
    assert program.pid not in {record.pid for record in sandbox.records()}
    sandbox.assert_clean()
