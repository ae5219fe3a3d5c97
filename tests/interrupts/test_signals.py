"""SIGINT and SIGTERM while runs execute, each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Final

import pytest

from eventflow import flow
from eventflow.interrupts.signals import guard

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

PROLOGUE: Final = """
import asyncio, os, signal, sys, threading, time
from eventflow import StateTransition, bus, flow, task
from eventflow.errors import TerminationSignal

def say(*words):
    sys.stdout.write(" ".join(words) + "\\n")
    sys.stdout.flush()

def hook(flow, run, state):
    say("hook", run.name, state.name)

@bus.subscribe(event_type=StateTransition)
def listen(event):
    say(event.run_name, event.to_state.name)

def for_ever():
    while True:
        time.sleep(0.001)

every = dict(on_running=[hook], on_completion=[hook], on_cancellation=[hook], on_crashed=[hook])
"""


class Program:
    """A Python process that says on its standard output how far it has come."""

    def __init__(self, source: str, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROLOGUE + textwrap.dedent(source)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "EVENTFLOW_HOME": str(home)},
        )
        # A program that says nothing more must not be waited for without end.
        self._limit = threading.Timer(60, self.process.kill)
        self._limit.start()
        self.said: list[str] = []

    def until(self, line: str) -> None:
        """Read what it says up to that line."""
        assert self.process.stdout is not None
        for said in self.process.stdout:
            self.said.append(said.rstrip("\n"))
            if self.said[-1] == line:
                return
        raise AssertionError(f"never said {line!r}: {self.end()} {self.said}")

    def end(self, *signals: signal.Signals) -> tuple[int, str]:
        """Send signals, and give the exit status and what it said on standard error."""
        for signum in signals:
            self.process.send_signal(signum)
        out, err = self.process.communicate(timeout=60)
        self._limit.cancel()
        self.said += out.splitlines()

        return self.process.returncode, err


SYNC: Final = """
@flow(flow_run_name="f", **every)
def f():
    say("ready")
    {wait}

f()
"""

ASYNC: Final = """
@flow(flow_run_name="f", **every)
async def f():
    say("ready")
    await asyncio.Event().wait()

asyncio.run(f())
"""


@pytest.mark.parametrize("wait", ["for_ever()", "time.sleep(600)", "threading.Event().wait()"])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_crashes_a_sync_flow(signum: signal.Signals, wait: str, tmp_path: Path) -> None:
    """It ends the body at once, the hooks run, and the status is the signal's own."""
    program = Program(SYNC.format(wait=wait), tmp_path)
    program.until("ready")
    status, _ = program.end(signum)
    assert program.said[-2:] == ["f Crashed", "hook f Crashed"]
    assert status in ((143,) if signum == signal.SIGTERM else (-signal.SIGINT, 130))


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_crashes_an_async_flow(signum: signal.Signals, tmp_path: Path) -> None:
    """Under asyncio.run the task is cancelled, the hooks run, and the status is the signal's."""
    program = Program(ASYNC, tmp_path)
    program.until("ready")
    status, _ = program.end(signum)
    assert program.said[-2:] == ["f Crashed", "hook f Crashed"]
    assert status in ((143,) if signum == signal.SIGTERM else (-signal.SIGINT, 130))


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_engine(signum: signal.Signals, tmp_path: Path) -> None:
    """A signal between a transition and its hooks takes the place of none of them."""
    source = f"""
    def strike(event):
        os.kill(os.getpid(), {int(signum)})

    bus.subscribe(strike, state="Running", priority=-1)

    @flow(flow_run_name="f", **every)
    def f():
        say("the body")
        for_ever()

    f()
    """
    program = Program(source, tmp_path)
    program.end()
    assert program.said == [
        "f Pending", "f Running", "hook f Running", "f Crashed", "hook f Crashed",
    ]  # fmt: skip


def test_a_signal_in_the_last_hooks_is_raised_after_the_run(tmp_path: Path) -> None:
    """A run that has completed stays completed; the rest of its hooks run; the program ends."""
    source = """
    def strike(flow, run, state):
        os.kill(os.getpid(), signal.SIGTERM)
        say("not reached")

    @flow(flow_run_name="f", on_completion=[strike, hook])
    def f():
        pass

    f()
    say("not reached")
    """
    program = Program(source, tmp_path)
    status, _ = program.end()
    assert program.said[-2:] == ["f Completed", "hook f Completed"]
    assert "not reached" not in program.said
    assert status == 143


def test_an_inner_run_crashes_before_the_outer_one(tmp_path: Path) -> None:
    """A signal goes outwards through every run that it ends."""
    source = """
    @task(task_run_name="t", **every)
    def t():
        say("ready")
        for_ever()

    @flow(flow_run_name="f", **every)
    def f():
        t()

    f()
    """
    program = Program(source, tmp_path)
    program.until("ready")
    status, _ = program.end(signal.SIGTERM)
    assert program.said[-4:] == ["t Crashed", "hook t Crashed", "f Crashed", "hook f Crashed"]
    assert status == 143


def test_a_sync_task_inside_an_async_flow_is_ended_by_sigterm(tmp_path: Path) -> None:
    """The signal is raised in the sync body that blocks the loop, and goes on from there."""
    source = """
    @task(task_run_name="t", **every)
    def t():
        say("ready")
        for_ever()

    @flow(flow_run_name="f", **every)
    async def f():
        t()

    asyncio.run(f())
    """
    program = Program(source, tmp_path)
    program.until("ready")
    status, _ = program.end(signal.SIGTERM)
    assert program.said[-4:] == ["t Crashed", "hook t Crashed", "f Crashed", "hook f Crashed"]
    assert status == 143


def test_a_second_flow_of_a_loop_stays_guarded_when_the_first_has_ended(tmp_path: Path) -> None:
    """The handlers stay until the last outermost run has ended."""
    source = """
    @flow(flow_run_name="short")
    async def short():
        pass

    @flow(flow_run_name="f", **every)
    async def f():
        begun.set()
        await asyncio.Event().wait()

    async def main():
        global begun
        begun = asyncio.Event()
        first = asyncio.create_task(short())
        second = asyncio.create_task(f())
        await begun.wait()
        await first
        say("ready")
        await second

    asyncio.run(main())
    """
    program = Program(source, tmp_path)
    program.until("ready")
    status, _ = program.end(signal.SIGTERM)
    assert program.said[-2:] == ["f Crashed", "hook f Crashed"]
    assert status == 143


def test_submitted_tasks_end_with_a_flow_that_is_ended(tmp_path: Path) -> None:
    """A signal crashes the flow and cancels what it submitted, first."""
    source = """
    @task(task_run_name="t", **every)
    def t():
        say("ready")
        for_ever()

    @flow(flow_run_name="f", **every)
    def f():
        t.submit()

    f()
    """
    program = Program(source, tmp_path)
    program.until("ready")
    status, complaint = program.end(signal.SIGTERM)
    assert program.said[-3:] == ["t Cancelled", "f Crashed", "hook f Crashed"], complaint
    assert status == 143, complaint


# ------------------------------------------------------------------------- the second signal

IN_A_HOOK: Final = """
def stuck(flow, run, state):
    say("stuck")
    {wait}

@flow(flow_run_name="f", on_crashed=[stuck, hook])
def f():
    say("ready")
    for_ever()

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

IN_ABANDON: Final = """
@task(task_run_name="t")
def t():
    say("ready")
    time.sleep(600)

@flow(flow_run_name="f", **every)
def f():
    try:
        t.submit()
        for_ever()
    finally:
        say("stuck")

f()
"""

IN_A_LISTENER: Final = """
def stuck(event):
    say("ready")
    if not event.run.run_count:
        return
    while not thread_mask().deferred:
        time.sleep(0.001)
    say("stuck")
    for_ever()

from eventflow.interrupts.scopes import thread_mask
bus.subscribe(stuck, run_type="flow")

@flow(flow_run_name="f", **every)
def f():
    say("not reached")

f()
"""

IN_A_FINALLY: Final = """
@flow(flow_run_name="f", **every)
def f():
    try:
        say("ready")
        for_ever()
    finally:
        say("stuck")
        for_ever()

f()
"""

IN_AN_ASYNC_FINALLY: Final = """
@flow(flow_run_name="f", **every)
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
    for_ever()

@atexit.register
def stuck():
    say("stuck")
    for_ever()

f()
"""

AT_EXIT_OF_ASYNCIO: Final = ASYNC.replace(
    "asyncio.run",
    """
@atexit.register
def stuck():
    say("stuck")
    for_ever()

asyncio.run""",
)

STUCK: Final = {
    "hook": IN_A_HOOK.format(wait="for_ever()"),
    "sleeping hook": IN_A_HOOK.format(wait="time.sleep(600)"),
    "async hook": IN_AN_ASYNC_HOOK,
    "abandon": IN_ABANDON,
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
    """Wherever the first is being dealt with, the second acts as if nobody handled it."""
    program = Program("import atexit\n" + STUCK[place], tmp_path)
    program.until("ready")
    program.process.send_signal(signum)
    program.until("stuck")
    status, complaint = program.end(signum)
    assert status == -signum, complaint
    assert program.said[-1] == "stuck"


def test_a_second_signal_in_the_hook_after_the_one_that_the_first_ended(tmp_path: Path) -> None:
    """A signal that was raised in a hook is being dealt with until the other hooks have run."""
    source = """
    def first(flow, run, state):
        say("ready")
        for_ever()

    def second(flow, run, state):
        say("stuck")
        for_ever()

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
    """A body that has caught the first and goes on has dealt with it; the next is a first one."""
    source = """
    @task(task_run_name="t")
    def t():
        say("ready")
        for_ever()

    @flow(flow_run_name="f", **every)
    def f():
        try:
            t()
        except (KeyboardInterrupt, TerminationSignal):
            say("swallowed")
        say("going on")
        for_ever()

    f()
    """
    program = Program(source, tmp_path)
    program.until("ready")
    program.process.send_signal(signum)
    program.until("going on")
    status, _ = program.end(signum)
    assert program.said[-2:] == ["f Crashed", "hook f Crashed"]
    assert status in ((143,) if signum == signal.SIGTERM else (-signal.SIGINT, 130))


def test_sigterm_after_ctrl_c_is_the_first_of_its_kind(tmp_path: Path) -> None:
    """Who runs several programs sends both; the hooks run on, and the status is SIGTERM's."""
    source = """
    def strike(flow, run, state):
        say("striking")
        os.kill(os.getpid(), signal.SIGTERM)
        say("struck")

    @flow(flow_run_name="f", on_crashed=[strike, hook])
    def f():
        say("ready")
        for_ever()

    f()
    """
    program = Program(source, tmp_path)
    program.until("ready")
    status, _ = program.end(signal.SIGINT)
    assert program.said[-3:] == ["striking", "struck", "hook f Crashed"]
    assert status == 143


def test_asyncio_gets_its_own_handler_back(tmp_path: Path) -> None:
    """After a run within asyncio.run the first Ctrl-C is asyncio's, and after that Python's."""
    source = """
    @flow
    async def f():
        pass

    async def main():
        before = signal.getsignal(signal.SIGINT)
        await f()
        say(str(signal.getsignal(signal.SIGINT) is before))

    asyncio.run(main())
    say(str(signal.getsignal(signal.SIGINT) is signal.default_int_handler))
    """
    program = Program(source, tmp_path)
    program.end()
    assert program.said.count("True") == 2


def test_a_signal_at_any_moment_of_a_wait_crashes_the_run(tmp_path: Path) -> None:
    """Waiting for submitted tasks is no place where a signal turns into another error."""
    source = """
    @task
    def t():
        for_ever()

    @flow
    def f():
        t.submit()
        sys.setprofile(strike)

    def strike(frame, event, argument):
        global left
        if event in ("call", "c_return") and frame.f_code.co_filename.endswith(FILES):
            left -= 1
            if not left:
                sys.setprofile(None)
                signal.raise_signal(signal.SIGTERM)

    FILES = ("futures.py", "threading.py", "masks.py", "task_scope.py")
    ends = []
    for moment in range(1, 25):
        left = moment
        try:
            f(return_state=True)
        except TerminationSignal:
            ends.append(moment)
    say("ends", *map(str, ends))
    """
    program = Program(source, tmp_path)
    program.end()
    assert program.said[-1] == " ".join(["ends", *map(str, range(1, 25))])


@pytest.mark.skipif(sys.platform != "linux", reason="epoll")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_just_before_the_loop_waits(signum: signal.Signals, tmp_path: Path) -> None:
    """It does not end the wait that begins after it, and is dealt with all the same.

    The raising and the waiting are two calls in C, between which Python looks at no signal.
    """
    source = f"""
    import ctypes, itertools, operator
    strike = ctypes.CDLL(None)["raise"]

    class Selector:
        def __init__(self, real):
            self.real = real

        def __getattr__(self, name):
            return getattr(self.real, name)

        def poll(self, timeout=None, events=-1):
            if not armed:
                return self.real.poll(timeout, events)
            armed.clear()
            calls = [(strike, {int(signum)}), (self.real.poll, timeout, events)]
            return list(itertools.starmap(operator.call, calls))[-1]

    armed = []

    @flow(flow_run_name="f", **every)
    async def f():
        selector = asyncio.get_running_loop()._selector
        selector._selector = Selector(selector._selector)
        armed.append(True)
        await asyncio.Event().wait()

    asyncio.run(f())
    """
    program = Program(source, tmp_path)
    status, complaint = program.end()
    assert program.said[-2:] == ["f Crashed", "hook f Crashed"], complaint
    assert status in ((143,) if signum == signal.SIGTERM else (-signal.SIGINT, 130))


def test_handlers_are_put_back() -> None:
    """After the last run the signals are handled as they were before the first."""
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGURG]
    before = [signal.getsignal(number) for number in numbers]
    during: list[object] = []

    @flow
    def f() -> None:
        during.extend(signal.getsignal(number) for number in numbers)

    f()
    assert all(one is not other for one, other in zip(during, before, strict=True))
    assert [signal.getsignal(number) for number in numbers] == before


def test_handlers_of_the_program_are_left_alone() -> None:
    """Those set before a run, and those set within it, stay."""
    seen: list[int] = []

    def mine(signum: int, frame: object) -> None:
        seen.append(signum)

    @flow
    def f() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.signal(signal.SIGINT, mine)

    interrupt = signal.getsignal(signal.SIGINT)
    terminate = signal.signal(signal.SIGTERM, mine)
    try:
        f()
        assert seen == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) is mine
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGTERM, terminate)
        signal.signal(signal.SIGINT, interrupt)


def test_another_thread_takes_nothing() -> None:
    """Only the main thread can take signals over."""
    taken: list[object] = []
    thread = threading.Thread(target=lambda: taken.append(guard()))
    thread.start()
    thread.join(30)
    assert taken == [None]
