"""A second signal, while the first is being handled and afterwards."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.interrupts.program import ASYNC, Program

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

IN_A_HOOK: Final = """
def stuck(flow, run, state):
    say("stuck")
    {wait}

@flow(flow_run_name="f", on_crashed=[stuck, hook])
def f():
    say("ready")
    run_for_ever()

f()
"""

IN_AN_ASYNC_HOOK: Final = """
async def stuck(flow, run, state):
    say("stuck")
    await asyncio.Event().wait()

@flow(flow_run_name="f", on_crashed=[stuck, hook])
async def f():
    say("ready")
    await asyncio.Event().wait()

asyncio.run(f())
"""

WHILE_CHILDREN_ARE_CANCELLED: Final = """
@task(task_run_name="t")
def t():
    say("ready")
    time.sleep(600)

@flow(flow_run_name="f", **all_hooks)
def f():
    try:
        t.submit()
        run_for_ever()
    finally:
        say("stuck")

f()
"""

IN_A_LISTENER: Final = """
def stuck(event):
    say("ready")
    if not event.run.run_count:
        return
    while not this_thread.mask.deferred:
        time.sleep(0.001)
    say("stuck")
    run_for_ever()

from eventflow.interrupts.masks import this_thread
bus.subscribe(stuck, run_type="flow")

@flow(flow_run_name="f", **all_hooks)
def f():
    say("not reached")

f()
"""

IN_A_FINALLY: Final = """
@flow(flow_run_name="f", **all_hooks)
def f():
    try:
        say("ready")
        run_for_ever()
    finally:
        say("stuck")
        run_for_ever()

f()
"""

IN_AN_ASYNC_FINALLY: Final = """
@flow(flow_run_name="f", **all_hooks)
async def f():
    try:
        say("ready")
        await asyncio.Event().wait()
    finally:
        say("stuck")
        await asyncio.Event().wait()

asyncio.run(f())
"""

AT_EXIT: Final = """
@flow(flow_run_name="f")
def f():
    say("ready")
    run_for_ever()

@atexit.register
def stuck():
    say("stuck")
    run_for_ever()

f()
"""

AT_EXIT_OF_ASYNCIO: Final = ASYNC.replace(
    "asyncio.run",
    """
@atexit.register
def stuck():
    say("stuck")
    run_for_ever()

asyncio.run""",
)

STUCK: Final = {
    "hook": IN_A_HOOK.format(wait="run_for_ever()"),
    "sleeping hook": IN_A_HOOK.format(wait="time.sleep(600)"),
    "async hook": IN_AN_ASYNC_HOOK,
    "cancelled children": WHILE_CHILDREN_ARE_CANCELLED,
    "listener": IN_A_LISTENER,
    "finally": IN_A_FINALLY,
    "async finally": IN_AN_ASYNC_FINALLY,
    "exit": AT_EXIT,
    "exit of asyncio": AT_EXIT_OF_ASYNCIO,
}


@pytest.mark.parametrize("place", STUCK)
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_process_at_once(
    signum: signal.Signals, place: str, tmp_path: Path
) -> None:
    """Wherever the first is being handled, the second has its default action."""
    program = Program("import atexit\n" + STUCK[place], tmp_path)
    program.until("ready")
    program.process.send_signal(signum)
    program.until("stuck")
    status, stderr = program.end(signum)
    assert status == -signum, stderr
    assert program.lines[-1] == "stuck"


def test_a_second_signal_in_the_hook_after_the_one_that_the_first_ended(tmp_path: Path) -> None:
    """A signal that was raised in a hook is being handled until the other hooks have run."""
    source = """
    def first(flow, run, state):
        say("ready")
        run_for_ever()

    def second(flow, run, state):
        say("stuck")
        run_for_ever()

    @flow(flow_run_name="f", on_completion=[first, second])
    def f():
        pass

    f()
    """
    program = Program(source, tmp_path)
    program.until("ready")
    program.process.send_signal(signal.SIGINT)
    program.until("stuck")
    assert program.end(signal.SIGINT)[0] == -signal.SIGINT


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_one_that_the_body_swallowed(signum: signal.Signals, tmp_path: Path) -> None:
    """A body that has caught the first and goes on has handled it; the next is a first one."""
    source = """
    @task(task_run_name="t")
    def t():
        say("ready")
        run_for_ever()

    @flow(flow_run_name="f", **all_hooks)
    def f():
        try:
            t()
        except (KeyboardInterrupt, TerminationSignal):
            say("swallowed")
        say("going on")
        run_for_ever()

    f()
    """
    program = Program(source, tmp_path)
    program.until("ready")
    program.process.send_signal(signum)
    program.until("going on")
    status, _ = program.end(signum)
    assert program.lines[-2:] == ["f Crashed", "hook f Crashed"]
    assert status in ((143,) if signum == signal.SIGTERM else (-signal.SIGINT, 130))


def test_sigterm_after_ctrl_c_is_the_first_of_its_kind(tmp_path: Path) -> None:
    """A supervisor may send both: the other hooks run, and the status is that of SIGTERM."""
    source = """
    def strike(flow, run, state):
        say("striking")
        os.kill(os.getpid(), signal.SIGTERM)
        say("struck")

    @flow(flow_run_name="f", on_crashed=[strike, hook])
    def f():
        say("ready")
        run_for_ever()

    f()
    """
    program = Program(source, tmp_path)
    program.until("ready")
    status, _ = program.end(signal.SIGINT)
    assert program.lines[-3:] == ["striking", "struck", "hook f Crashed"]
    assert status == 143
