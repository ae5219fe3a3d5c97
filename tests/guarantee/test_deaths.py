"""However a process ends, its unfinished runs are Crashed, and their hooks are run."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from eventflow.journal.contract import RunQuery
from tests.guarantee.sandbox import Program, Sandbox, wait_until

ETL = """
@task(on_crashed=[record_state])
def step():
    {end}

@flow(on_running=[record_state], on_crashed=[record_state])
def etl():
    step()

if __name__ == "__main__":
    etl()
"""

RECORDS = [["etl", "Running", 1], ["step", "Crashed", 1], ["etl", "Crashed", 1]]


def assert_finished(sandbox: Sandbox, program: Program, *, ready: bool = False) -> None:
    """Assert that the task crashed before its flow, and that another process called the hooks."""
    records = sandbox.records()
    assert records == [RECORDS[0], *([["ready"]] if ready else []), *RECORDS[1:]], program.output
    assert [record.pid == program.pid for record in records[-2:]] == [False, False]
    assert sandbox.entered("Crashed") == ["step", "etl"]
    sandbox.assert_clean()


@pytest.mark.parametrize(
    ("end", "status", "how"),
    [
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            -signal.SIGKILL,
            "it was killed by SIGKILL (signal 9)",
        ),
        ("os.killpg(0, signal.SIGKILL)", -signal.SIGKILL, "it was killed by SIGKILL (signal 9)"),
        ("os._exit(7)", 7, "it exited with code 7"),
        ("os._exit(0)", 0, "it exited with code 0"),
        (
            "import ctypes; ctypes.string_at(0)",
            -signal.SIGSEGV,
            "it was killed by SIGSEGV (signal 11)",
        ),
        ("os.execv('/bin/true', ['true'])", 0, "it exited with code 0"),
    ],
)
def test_a_process_that_ends_itself(sandbox: Sandbox, end: str, status: int, how: str) -> None:
    """No handler, no `finally`, no `atexit` runs, but the hooks do; it is said how it ended."""
    program = sandbox.python(ETL.format(end=end))
    assert program.end() == status
    assert_finished(sandbox, program)
    (message,) = {run.message or "" for run in sandbox.journal.runs(RunQuery())}
    begin = f"The process that executed it (pid {program.pid} on "
    assert message.startswith(begin)
    # Only Linux from 6.15 on tells the exit status of a process that was waited for.
    version = tuple(map(int, os.uname().release.split(".")[:2]))
    is_told = sys.platform == "linux" and version >= (6, 15)
    assert f" vanished{f': {how}.' if is_told else ' without a word'}" in message
    assert "Finished by its guardian (pid " in message


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGHUP])
def test_a_process_group_that_is_ended(sandbox: Sandbox, signum: signal.Signals) -> None:
    """A signal to the group, as from a terminal or a service, does not reach the guardian."""
    program = sandbox.python(ETL.format(end="hold()"))
    sandbox.wait_for_record("ready")
    program.send_group(signum)
    assert program.end() == -signum
    assert_finished(sandbox, program, ready=True)


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, -2)])
def test_a_process_that_is_asked_to_end(
    sandbox: Sandbox, signum: signal.Signals, status: int
) -> None:
    """It calls its hooks itself, ends by the signal, and leaves nothing to recover."""
    program = sandbox.python(ETL.format(end="hold()"))
    sandbox.wait_for_record("ready")
    program.send_group(signum)
    assert program.end() == status
    records = sandbox.records()
    assert records == [RECORDS[0], ["ready"], *RECORDS[1:]], program.output
    assert {record.pid for record in records} == {program.pid}
    sandbox.assert_clean()


SLOW = """
def slow(flow, run, state):
    record("slow", runtime.hook.attempt, runtime.hook.delivery_id)
    if runtime.hook.attempt == 1:
        hold("hook")

@flow(on_crashed=[slow, record_state])
def etl():
    hold()

if __name__ == "__main__":
    etl()
"""


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (signal.SIGINT, signal.SIGINT),
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGTERM, signal.SIGKILL),
    ],
)
def test_a_second_signal_during_a_slow_hook(
    sandbox: Sandbox, first: signal.Signals, second: signal.Signals
) -> None:
    """It ends the process at once; another one calls the hook again, and those after it."""
    program = sandbox.python(SLOW)
    sandbox.wait_for_record("ready")
    program.send(first)
    sandbox.wait_for_record("ready", "hook")
    program.send(second)
    assert program.end() == -second
    _, before, _, again, after = sandbox.records()
    assert before[:2] == ["slow", 1]
    assert again == ["slow", 2, before[2]]
    assert after == ["etl", "Crashed", 1]
    assert again.pid == after.pid != program.pid
    sandbox.assert_clean()


def test_a_memory_error_is_a_failure(sandbox: Sandbox) -> None:
    """Under a limit on the address space the run is Failed, and its hooks still run."""
    program = sandbox.python(
        """
        import resource

        def hungry():
            in_use = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            limit = in_use + 64 * 2**20
            resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
            return bytearray(2**30)

        @flow(on_failure=[record_state], on_crashed=[record_state])
        def etl():
            hungry()

        if __name__ == "__main__":
            etl()
        """
    )
    assert program.end() == 1
    assert "MemoryError" in program.output
    assert sandbox.records() == [["etl", "Failed", 1]]
    sandbox.assert_clean()


def test_a_process_that_is_killed_for_its_memory(sandbox: Sandbox) -> None:
    """As the kernel's out-of-memory killer does; here the test kills it."""
    program = sandbox.python(
        ETL.format(end="held = []\n    for _ in range(256): held.append(b'x' * 2**20)\n    hold()")
    )
    limit_kilobytes = 128 * 1024
    wait_until(lambda: _resident_kilobytes(program.pid) > limit_kilobytes, sandbox.records)
    program.send(signal.SIGKILL)
    assert program.end() == -signal.SIGKILL
    records = [record for record in sandbox.records() if record != ["ready"]]
    assert records == RECORDS
    assert program.pid not in {record.pid for record in records[1:]}
    sandbox.assert_clean()


def _resident_kilobytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()

    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)


# -- in the middle of a hook ------------------------------------------------------------------


@pytest.mark.parametrize("end", ["die()", "os._exit(3)"])
def test_a_death_in_the_middle_of_a_hook(sandbox: Sandbox, end: str) -> None:
    """The hook is called again: the second attempt of the same delivery."""
    program = sandbox.python(
        f"""
        def fragile(flow, run, state):
            record(state.name, runtime.hook.delivery_id, runtime.hook.attempt, str(run.id))
            if runtime.hook.attempt == 1:
                {end}

        @flow(on_failure=[record_state, fragile, record_state])
        def etl():
            raise ValueError("failed")

        if __name__ == "__main__":
            etl()
        """
    )
    assert program.end() != 0
    before, first, second, after = sandbox.records()
    assert before == after == ["etl", "Failed", 1]
    assert first == ["Failed", first[1], 1, first[3]]
    assert second == ["Failed", first[1], 2, first[3]]
    assert (first.pid, second.pid == after.pid) == (program.pid, True)
    assert sandbox.states() == [("etl", "Failed")]
    assert sandbox.deliveries() == [
        ("record_state", "delivered", 1),
        ("fragile", "delivered", 2),
        ("record_state", "delivered", 1),
    ]
    sandbox.assert_clean()


def test_a_hook_that_kills_its_process_every_time(sandbox: Sandbox) -> None:
    """After three attempts it is a dead letter, and the other hooks are delivered."""
    program = sandbox.python(
        """
        def deadly(flow, run, state):
            record(runtime.hook.attempt)
            die()

        @flow(on_running=[deadly, record_state], on_crashed=[record_state])
        def etl(): ...

        if __name__ == "__main__":
            etl()
        """
    )
    assert program.end() == -signal.SIGKILL
    assert sandbox.records() == [[1], [2], [3], RECORDS[0], RECORDS[2]], program.output
    assert len({record.pid for record in sandbox.records()}) == 4
    assert sandbox.deliveries() == [
        ("deadly", "dead", 3),
        ("record_state", "delivered", 1),
        ("record_state", "delivered", 1),
    ]
    sandbox.assert_clean(dead=["deadly"])


# -- without a guardian -----------------------------------------------------------------------


def killed_with_guardian(sandbox: Sandbox) -> Program:
    """Return a program that was killed together with its guardian, so that nothing recovers it."""
    program = sandbox.python(ETL.format(end="hold()"))
    sandbox.wait_for_record("ready")
    sandbox.kill_with_guardian(program)
    assert program.end() == -signal.SIGKILL
    assert sandbox.records() == [RECORDS[0], ["ready"]]
    assert sandbox.processes() == {}

    return program


def test_owner_and_guardian_killed_together(sandbox: Sandbox) -> None:
    """`eventflow recover` recovers the owner, reports it, and then has nothing to do."""
    program = killed_with_guardian(sandbox)
    (report,) = sandbox.recover()
    assert (report["pid"], report["crashed"], report["problem"]) == (program.pid, 2, None)
    assert_finished(sandbox, program, ready=True)
    assert sandbox.recover() == []


def test_the_next_process_recovers_the_owner(sandbox: Sandbox) -> None:
    """It is enough that any program runs a flow on the same journal."""
    program = killed_with_guardian(sandbox)
    other = sandbox.python("@flow\ndef other(): ...\n\nother()\n", "other.py")
    sandbox.wait_until_recovered()
    assert other.end() == 0
    assert_finished(sandbox, program, ready=True)


def test_a_guardian_that_was_killed_alone_is_replaced(sandbox: Sandbox) -> None:
    """While no further flow is called; the new one has the hooks that were handed to the first."""
    program = sandbox.python(
        """
        def make(word):
            return lambda flow, run, state: record(word, state.name)

        @flow(on_crashed=[record_state, make("by value")])
        def etl():
            hold()

        if __name__ == "__main__":
            etl()
        """
    )
    sandbox.wait_for_record("ready")
    guardian = sandbox.guardian()
    os.kill(guardian, signal.SIGKILL)
    wait_until(lambda: set(sandbox.guardians()) - {guardian}, sandbox.processes)
    program.send(signal.SIGKILL)
    assert program.end() == -signal.SIGKILL
    assert sandbox.records()[1:] == [["etl", "Crashed", 1], ["by value", "Crashed"]]
    sandbox.assert_clean()
