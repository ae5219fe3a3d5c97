"""States that last while the clock of the computer is set forward and back."""

from __future__ import annotations

import os
import signal

import pytest

from tests.guarantee.sandbox import Program, Sandbox, wait_until

# Python imports it at its start, before eventflow. The shift is in a file: it counts from when that
# is written, in every process.
CLOCK = """
import datetime as module, os, time

def shift():
    try:
        with open(os.environ["CLOCK_SHIFT"]) as file:
            return float(file.read() or 0)
    except FileNotFoundError:
        return 0.0

real = module.datetime
real_time, real_time_ns = time.time, time.time_ns

class Kind(type):
    def __instancecheck__(cls, value):
        return isinstance(value, real)

class Shifted(real, metaclass=Kind):
    @classmethod
    def now(cls, tz=None):
        return real.now(tz) + module.timedelta(seconds=shift())

module.datetime = Shifted
time.time = lambda: real_time() + shift()
time.time_ns = lambda: real_time_ns() + int(shift() * 1e9)
"""
WORK = """
from eventflow.testing import flush

def slow(definition, run, state):
    record(definition.name, state.name, time.monotonic(), time.time())

def set_clock(seconds):
    with open(os.environ["CLOCK_SHIFT"], "w") as file:
        file.write(str(seconds))

def late():
    from eventflow.eventbus.deadlines import timer
    timer.run = lambda: None

@flow(on_overdue=[slow], overdue_seconds={lasting})
def etl():
    record("began", time.monotonic(), time.time())
    {body}

if __name__ == "__main__":
    {before}
    etl()
"""
HOUR = 3_600.0


def start(sandbox: Sandbox, lasting: float, body: str, before: str = "pass", **env: str) -> Program:
    """Start the flow in a process whose clock the test sets."""
    sandbox.write("clock/sitecustomize.py", CLOCK, head="")
    path = os.pathsep.join([str(sandbox.folder / "clock"), sandbox.env["PYTHONPATH"]])
    sandbox.env |= {"PYTHONPATH": path, "CLOCK_SHIFT": str(sandbox.folder / "shift")}
    source = WORK.format(lasting=lasting, body=body, before=before)

    return sandbox.python(source, **env)


@pytest.mark.parametrize("by", [HOUR, -HOUR], ids=["forward", "back"])
def test_a_living_process_does_not_mind(sandbox: Sandbox, by: float) -> None:
    """It counts by a clock that nobody sets: not before the time is over, and not an hour later."""
    program = start(sandbox, 1, f"set_clock({by}); time.sleep(2)")

    assert program.end() == 0, program.output
    began, slow = sandbox.records()
    assert slow[:2] == ["etl", "Running"]
    assert slow[2] - began[1] >= 0.9
    # The clock was really another one.
    assert (slow[3] - began[2] > HOUR / 2) if by > 0 else (slow[3] < began[2] - HOUR / 2)
    sandbox.assert_clean()


@pytest.mark.parametrize(
    ("lasting", "by", "is_due"), [(1_800, HOUR, True), (1_800, 0, False), (0.1, -HOUR, False)]
)
def test_a_recovery_goes_by_the_clock(
    sandbox: Sandbox, lasting: float, by: float, is_due: bool
) -> None:
    """No other goes on after a reboot. What was due by then is delivered, and nothing else."""
    program = start(sandbox, lasting, "hold()", before="late()")
    sandbox.wait_for_record("ready")
    sandbox.kill_with_guardian(program)
    (sandbox.folder / "shift").write_text(str(by))

    (report,) = sandbox.recover()
    assert report["crashed"] == 1
    told = [record[:2] for record in sandbox.records() if record[0] == "etl"]
    assert told == ([["etl", "Running"]] if is_due else [])
    assert sandbox.entered("Crashed") == ["etl"]
    sandbox.assert_clean()


def test_a_stopped_process_after_the_clock_was_set(sandbox: Sandbox) -> None:
    """Its guardian wakes by the clock that nobody sets, and finds that it has lasted."""
    # Short sleeps, as any thread of a process that goes on may take a signal.
    body = f"set_clock({HOUR}); flush(); record('ready')\n    while True: time.sleep(0.05)"
    program = start(sandbox, 2, body, EVENTFLOW_GUARDIAN_GRACE_SECONDS="0.2")
    sandbox.wait_for_record("ready")
    program.send(signal.SIGSTOP)
    wait_until(lambda: any(record[0] == "etl" for record in sandbox.records()), sandbox.records)
    began, *_, slow = sandbox.records()
    program.send(signal.SIGCONT)
    program.send(signal.SIGTERM)

    assert program.end() == 143
    assert slow.pid != program.pid
    assert slow[2] - began[1] >= 1.9
    assert [record[0] for record in sandbox.records()].count("etl") == 1
    sandbox.assert_clean()
