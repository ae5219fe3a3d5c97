"""However a process dies, its runs are Crashed within a moment, and their hooks are run."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.guarantee.stage import Program, Stage, until

ETL = """
@task(on_crashed=[heard])
def step():
    {end}

@flow(on_running=[heard], on_crashed=[heard])
def etl():
    step()

if __name__ == "__main__":
    etl()
"""

HEARD = [["etl", "Running", 1], ["step", "Crashed", 1], ["etl", "Crashed", 1]]


def assert_finished(stage: Stage, program: Program, *, ready: bool = False) -> None:
    """The run crashed, the task before its flow, and another process told the hooks."""
    told = stage.told()
    assert told == [HEARD[0], *([["ready"]] if ready else []), *HEARD[1:]], program.output
    assert [one.pid == program.pid for one in told[-2:]] == [False, False]
    assert stage.entered("Crashed") == ["step", "etl"]
    stage.assert_clean()


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.killpg(0, signal.SIGKILL)", -signal.SIGKILL),
        ("os._exit(7)", 7),
        ("os._exit(0)", 0),
        ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV),
        ("os.execv('/bin/true', ['true'])", 0),
    ],
)
def test_a_process_that_ends_itself(stage: Stage, end: str, status: int) -> None:
    """No handler, no `finally` and no `atexit` runs, and yet the hooks do."""
    program = stage.python(ETL.format(end=end))
    assert program.end() == status
    assert_finished(stage, program)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGHUP])
def test_a_process_group_that_is_ended(stage: Stage, signum: signal.Signals) -> None:
    """What ends all that a terminal or a service has started does not end the guardian."""
    program = stage.python(ETL.format(end="hold()"))
    stage.until_told("ready")
    program.send_group(signum)
    assert program.end() == -signum
    assert_finished(stage, program, ready=True)


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, -2)])
def test_a_process_that_is_asked_to_end(stage: Stage, signum: signal.Signals, status: int) -> None:
    """It runs its hooks itself, ends as the signal does, and leaves nothing to others."""
    program = stage.python(ETL.format(end="hold()"))
    stage.until_told("ready")
    program.send_group(signum)
    assert program.end() == status
    told = stage.told()
    assert told == [HEARD[0], ["ready"], *HEARD[1:]], program.output
    assert {one.pid for one in told} == {program.pid}
    stage.assert_clean()


SLOW = """
def slow(flow, run, state):
    tell("slow", runtime.hook.attempt, runtime.hook.delivery_id)
    if runtime.hook.attempt == 1:
        hold("hook")

@flow(on_crashed=[slow, heard])
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
    stage: Stage, first: signal.Signals, second: signal.Signals
) -> None:
    """It ends the process at once, and another one runs the hook again and those after it."""
    program = stage.python(SLOW)
    stage.until_told("ready")
    program.send(first)
    stage.until_told("ready", "hook")
    program.send(second)
    assert program.end() == -second
    _, before, _, again, after = stage.told()
    assert before[:2] == ["slow", 1]
    assert again == ["slow", 2, before[2]]
    assert after == ["etl", "Crashed", 1]
    assert again.pid == after.pid != program.pid
    stage.assert_clean()


def test_memory_that_runs_out_in_python_is_a_failure(stage: Stage) -> None:
    """Under a limit on the address space the run has failed, and the hooks have what they need."""
    program = stage.python(
        """
        import resource

        def hungry():
            in_use = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            limit = in_use + 64 * 2**20
            resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
            return bytearray(2**30)

        @flow(on_failure=[heard], on_crashed=[heard])
        def etl():
            hungry()

        if __name__ == "__main__":
            etl()
        """
    )
    assert program.end() == 1
    assert "MemoryError" in program.output
    assert stage.told() == [["etl", "Failed", 1]]
    stage.assert_clean()


def test_memory_that_someone_else_watches_over(stage: Stage) -> None:
    """What holds more than it may is killed by the system without a word, as if by us here."""
    program = stage.python(
        ETL.format(end="held = []\n    for _ in range(256): held.append(b'x' * 2**20)\n    hold()")
    )
    limit_kilobytes = 128 * 1024
    until(lambda: _resident_kilobytes(program.pid) > limit_kilobytes, stage.told)
    program.send(signal.SIGKILL)
    assert program.end() == -signal.SIGKILL
    told = [one for one in stage.told() if one != ["ready"]]
    assert told == HEARD
    assert program.pid not in {one.pid for one in told[1:]}
    stage.assert_clean()


def _resident_kilobytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()

    return next((int(one.split()[1]) for one in lines if one.startswith("VmRSS:")), 0)


# -- in the middle of a hook ------------------------------------------------------------------


@pytest.mark.parametrize("end", ["die()", "os._exit(3)"])
def test_a_death_in_the_middle_of_a_hook(stage: Stage, end: str) -> None:
    """The hook runs again, and can tell: it is the second attempt of the same delivery."""
    program = stage.python(
        f"""
        def fragile(flow, run, state):
            tell(state.name, runtime.hook.delivery_id, runtime.hook.attempt, str(run.id))
            if runtime.hook.attempt == 1:
                {end}

        @flow(on_failure=[heard, fragile, heard])
        def etl():
            raise ValueError("as it happens")

        if __name__ == "__main__":
            etl()
        """
    )
    assert program.end() != 0
    before, first, second, after = stage.told()
    assert before == after == ["etl", "Failed", 1]
    assert first == ["Failed", first[1], 1, first[3]]
    assert second == ["Failed", first[1], 2, first[3]]
    assert (first.pid, second.pid == after.pid) == (program.pid, True)
    assert stage.states() == [("etl", "Failed")]
    assert stage.deliveries() == [
        ("heard", "delivered", 1),
        ("fragile", "delivered", 2),
        ("heard", "delivered", 1),
    ]
    stage.assert_clean()


def test_a_hook_that_is_deadly_every_time(stage: Stage) -> None:
    """After three attempts it is a dead letter; it is no loop, and takes no other hook with it."""
    program = stage.python(
        """
        def deadly(flow, run, state):
            tell(runtime.hook.attempt)
            die()

        @flow(on_running=[deadly, heard], on_crashed=[heard])
        def etl(): ...

        if __name__ == "__main__":
            etl()
        """
    )
    assert program.end() == -signal.SIGKILL
    assert stage.told() == [[1], [2], [3], HEARD[0], HEARD[2]], program.output
    assert len({one.pid for one in stage.told()}) == 4
    assert stage.deliveries() == [
        ("deadly", "dead", 3),
        ("heard", "delivered", 1),
        ("heard", "delivered", 1),
    ]
    stage.assert_clean(dead=["deadly"])


# -- without a guardian -----------------------------------------------------------------------


def killed_with_guardian(stage: Stage) -> Program:
    """Give a program that was killed together with its guardian: nobody is left to finish."""
    program = stage.python(ETL.format(end="hold()"))
    stage.until_told("ready")
    stage.kill_with_guardian(program)
    assert program.end() == -signal.SIGKILL
    assert stage.told() == [HEARD[0], ["ready"]]
    assert stage.processes() == {}

    return program


def test_owner_and_guardian_killed_together(stage: Stage) -> None:
    """`eventflow recover` finishes what they left, says so, and then has nothing to do."""
    program = killed_with_guardian(stage)
    (report,) = stage.recover()
    assert (report["pid"], report["crashed"], report["problem"]) == (program.pid, 2, None)
    assert_finished(stage, program, ready=True)
    assert stage.recover() == []


def test_the_next_process_finishes_what_was_left(stage: Stage) -> None:
    """Nobody has to ask it: it is enough that any program of eventflow runs a flow there."""
    program = killed_with_guardian(stage)
    other = stage.python("@flow\ndef other(): ...\n\nother()\n", "other.py")
    stage.until_recovered()
    assert other.end() == 0
    assert_finished(stage, program, ready=True)


def test_a_guardian_that_was_killed_alone_is_replaced(stage: Stage) -> None:
    """The next definition that has hooks to guard gets another one, which guards them all."""
    program = stage.python(
        """
        @flow(on_crashed=[heard])
        def first(wait):
            wait()

        @flow(on_crashed=[heard])
        def second():
            hold("second")

        def wait():
            tell("first")
            while not os.path.exists("go"):
                time.sleep(0.02)
            second()

        if __name__ == "__main__":
            first(wait)
        """
    )
    stage.until_told("first")
    guardian = stage.guardian()
    os.kill(guardian, signal.SIGKILL)
    until(lambda: guardian not in stage.processes(), stage.processes)
    (stage.folder / "go").touch()
    stage.until_told("ready", "second")
    program.send(signal.SIGKILL)
    assert program.end() == -signal.SIGKILL
    assert stage.told()[2:] == [["second", "Crashed", 1], ["first", "Crashed", 1]]
    stage.assert_clean()
