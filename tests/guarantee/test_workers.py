"""Hooks that are left to workers run however a worker ends, and in the flow's process never."""

from __future__ import annotations

import signal
from typing import Final

import pytest

from tests.guarantee.sandbox import Program, Sandbox, wait_until

FLOW: Final = """
from eventflow import Hook
from eventflow.recovery.workers.claimed import ClaimLedger

def kill_worker():
    os.kill(os.getppid(), signal.SIGKILL)
    die()

def press(flow, run, state):
    record("press", run.name, state.name, runtime.hook.attempt)
    if os.path.exists("die in the hook"):
        os.unlink("die in the hook")
        kill_worker()

def own(flow, run, state):
    record("own", run.name, state.name)

if os.path.exists("die before the acknowledgement"):
    def settle_at(self, *_):
        if _[2] == "delivered":
            os.unlink("die before the acknowledgement")
            kill_worker()
        settle(self, *_)

    settle, ClaimLedger.settle_at = ClaimLedger.settle_at, settle_at

@flow(
    flow_run_name="{name}",
    hooks=[Hook(press, state=["Running", "Completed", "Crashed"], where="worker")],
    on_end=[own],
)
def etl(name):
    if name == "killed":
        die()

if __name__ == "__main__":
    etl(sys.argv[1])
"""

DIES_AFTER_THE_CLAIM: Final = """
import os, signal
from eventflow.cli.app import app
from eventflow.recovery.workers.worker import Worker
Worker._attempt = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
app(["work"])
"""


def worker(sandbox: Sandbox, *arguments: str) -> Program:
    """Start a worker, whose claims are soon over if it is killed."""
    return sandbox.start(
        "-m", "eventflow.cli", "work", "--every", "0.05", *arguments, EVENTFLOW_LEASE_SECONDS="1"
    )


def run_flow(sandbox: Sandbox, name: str, status: int = 0) -> None:
    """Run the flow in a process of its own, to its end."""
    assert sandbox.start(str(sandbox.write("flow.py", FLOW)), name).end() == status


@pytest.mark.parametrize(
    ("point", "attempts"),
    [("after the claim", [1]), ("in the hook", [1, 2]), ("before the acknowledgement", [1, 2])],
)
def test_a_worker_is_killed(sandbox: Sandbox, point: str, attempts: list[int]) -> None:
    """Another one makes the next attempt, and then what the run owes besides, in order."""
    run_flow(sandbox, "first")
    assert sandbox.records() == [["own", "first", "Completed"]]
    assert sandbox.deliveries()[0][1:] == ("pending", 0)
    if point == "after the claim":
        killed = sandbox.start("-c", DIES_AFTER_THE_CLAIM, EVENTFLOW_LEASE_SECONDS="1")
    else:
        (sandbox.folder / f"die {point}").touch()
        killed = worker(sandbox)
    assert killed.end() == -signal.SIGKILL
    after = worker(sandbox)
    sandbox.wait_for_record("press", "first", "Completed", 1)
    wait_until(lambda: sandbox.deliveries()[-1][1] == "delivered", sandbox.deliveries)
    after.send(signal.SIGTERM)
    assert after.end() == 0, after.output

    presses = [each[1:] for each in sandbox.records() if each[0] == "press"]
    assert presses == [
        *(["first", "Running", attempt] for attempt in attempts),
        ["first", "Completed", 1],
    ]
    # The process in which the hook was called is an owner as well, of no run.
    sandbox.recover()
    sandbox.assert_clean()


def test_a_hook_that_ends_its_process(sandbox: Sandbox) -> None:
    """The worker goes on at once; after three attempts the delivery is dead, the others are not."""
    run_flow(sandbox, "first")
    source = FLOW.replace('if os.path.exists("die in the hook"):', 'if state.name == "Running":')
    source = source.replace('os.unlink("die in the hook")', "die()")
    sandbox.write("flow.py", source)
    once = worker(sandbox, "--once", "--hooks", "*:press")

    assert once.end() == 1, once.output
    assert "-9" in once.output
    presses = [each[1:] for each in sandbox.records() if each[0] == "press"]
    assert presses == [
        *(["first", "Running", attempt] for attempt in (1, 2, 3)),
        ["first", "Completed", 1],
    ]
    sandbox.recover()
    sandbox.assert_clean(dead=["press"])


def test_the_crash_that_a_recovery_enters_is_left_to_workers_as_well(sandbox: Sandbox) -> None:
    """Neither guardian nor recovery runs such a hook, and none is started again for it."""
    run_flow(sandbox, "killed", -signal.SIGKILL)
    sandbox.wait_until_recovered()
    assert [*sandbox.records()] == [["own", "killed", "Crashed"]]
    assert sandbox.recover() == []
    assert "press" in sandbox.eventflow("work", "--once")

    assert [each[:3] for each in sandbox.records()[1:]] == [
        ["press", "killed", "Running"],
        ["press", "killed", "Crashed"],
    ]
    sandbox.assert_clean()


def test_what_cannot_be_imported_is_dead(sandbox: Sandbox) -> None:
    """With the reason, as nobody has it by value."""
    program = sandbox.python(
        """
        from eventflow import Hook

        @flow(hooks=[Hook(lambda *_: record("never"), state="Completed", where="worker")])
        def etl():
            pass

        if __name__ == "__main__":
            etl()
        """
    )
    assert program.end() == 0
    once = worker(sandbox, "--once")
    assert once.end() == 1
    assert "lambda" in once.output
    assert sandbox.deliveries() == [("<lambda>", "dead", 1)]


def test_a_transaction_of_the_hook(sandbox: Sandbox) -> None:
    """Its rows and the acknowledgement are committed together, once."""
    program = sandbox.python(
        """
        from eventflow import Hook

        def send(flow, run, state):
            with runtime.hook.transaction() as connection:
                connection.execute("CREATE TABLE sent (name TEXT)")
            raise ValueError("too late to matter")

        @flow(hooks=[Hook(send, state="Completed", where="worker", retries=3)])
        def etl():
            pass

        if __name__ == "__main__":
            etl()
        """
    )
    assert program.end() == 0
    assert worker(sandbox, "--once").end() == 0
    assert sandbox.deliveries() == [("send", "delivered", 1)]
    sandbox.assert_clean()


def test_two_programs_and_two_workers(sandbox: Sandbox) -> None:
    """Each hook is called in a process that is set up as that of its run, once."""
    for name in ("one", "two", "three"):
        run_flow(sandbox, name)
    workers = [worker(sandbox, "--once") for _ in range(2)]
    assert [each.end() for each in workers] == [0, 0]

    presses = [each[1:] for each in sandbox.records() if each[0] == "press"]
    assert sorted(presses) == sorted(
        [name, state, 1] for name in ("one", "two", "three") for state in ("Running", "Completed")
    )
    for name in ("one", "two", "three"):
        assert [state for run, state, _ in presses if run == name] == ["Running", "Completed"]
    sandbox.assert_clean()
