"""SIGINT and SIGTERM while runs execute; what handles them before, during and after a run."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from eventflow import flow
from eventflow.interrupts.signals import guard
from tests.interrupts.program import ASYNC, SYNC, Program

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@pytest.mark.parametrize("wait", ["run_for_ever()", "time.sleep(600)", "threading.Event().wait()"])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_crashes_a_sync_flow(signum: signal.Signals, wait: str, tmp_path: Path) -> None:
    """It ends the body at once, the hooks run, and the status is the signal's own."""
    program = Program(SYNC.format(wait=wait), tmp_path)
    program.until("ready")
    if wait != "run_for_ever()":
        program.wait_until_blocked()
    status, _ = program.end(signum)
    assert program.lines[-2:] == ["f Crashed", "hook f Crashed"]
    assert status in ((143,) if signum == signal.SIGTERM else (-signal.SIGINT, 130))


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_crashes_an_async_flow(signum: signal.Signals, tmp_path: Path) -> None:
    """Under asyncio.run the task is cancelled, the hooks run, and the status is the signal's."""
    program = Program(ASYNC, tmp_path)
    program.until("ready")
    status, _ = program.end(signum)
    assert program.lines[-2:] == ["f Crashed", "hook f Crashed"]
    assert status in ((143,) if signum == signal.SIGTERM else (-signal.SIGINT, 130))


@pytest.mark.parametrize("place", ["body", "hook"])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_a_finalizer_crashes_the_run(
    signum: signal.Signals, place: str, tmp_path: Path
) -> None:
    """Python swallows what is raised there: it is raised again behind it."""
    source = f"""
    import gc

    def strike(phase, facts):
        gc.callbacks.remove(strike)
        os.kill(os.getpid(), {int(signum)})
        say("swallowed")

    def collect(*_):
        gc.callbacks.append(strike)
        gc.collect()
        while True:
            time.sleep(0.001)

    @flow(flow_run_name="f", **all_hooks)
    def f():
        if "{place}" == "body":
            collect()

    if "{place}" == "hook":
        f.on_running(collect)
    f()
    """
    program = Program(source, tmp_path)
    status, stderr = program.end()
    assert "swallowed" not in program.lines
    assert program.lines[-2:] == ["f Crashed", "hook f Crashed"], stderr
    assert status in ((143,) if signum == signal.SIGTERM else (-signal.SIGINT, 130))
    assert "Exception ignored" not in stderr


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_engine(signum: signal.Signals, tmp_path: Path) -> None:
    """A signal between a transition and its hooks prevents none of them."""
    source = f"""
    def strike(event):
        os.kill(os.getpid(), {int(signum)})

    bus.subscribe(strike, state="Running", priority=-1)

    @flow(flow_run_name="f", **all_hooks)
    def f():
        say("the body")
        run_for_ever()

    f()
    """
    program = Program(source, tmp_path)
    program.end()
    assert program.lines == [
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
    assert program.lines[-2:] == ["f Completed", "hook f Completed"]
    assert "not reached" not in program.lines
    assert status == 143


def test_an_inner_run_crashes_before_the_outer_one(tmp_path: Path) -> None:
    """A signal ends the runs one after the other, the innermost first."""
    source = """
    @task(task_run_name="t", **all_hooks)
    def t():
        say("ready")
        run_for_ever()

    @flow(flow_run_name="f", **all_hooks)
    def f():
        t()

    f()
    """
    program = Program(source, tmp_path)
    program.until("ready")
    status, _ = program.end(signal.SIGTERM)
    assert program.lines[-4:] == ["t Crashed", "hook t Crashed", "f Crashed", "hook f Crashed"]
    assert status == 143


def test_a_sync_task_inside_an_async_flow_is_ended_by_sigterm(tmp_path: Path) -> None:
    """The signal is raised in the sync body that blocks the loop, and propagates from there."""
    source = """
    @task(task_run_name="t", **all_hooks)
    def t():
        say("ready")
        run_for_ever()

    @flow(flow_run_name="f", **all_hooks)
    async def f():
        t()

    asyncio.run(f())
    """
    program = Program(source, tmp_path)
    program.until("ready")
    status, _ = program.end(signal.SIGTERM)
    assert program.lines[-4:] == ["t Crashed", "hook t Crashed", "f Crashed", "hook f Crashed"]
    assert status == 143


def test_a_second_flow_of_a_loop_stays_guarded_when_the_first_has_ended(tmp_path: Path) -> None:
    """The handlers stay until the last outermost run has ended."""
    source = """
    @flow(flow_run_name="short")
    async def short():
        pass

    @flow(flow_run_name="f", **all_hooks)
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
    assert program.lines[-2:] == ["f Crashed", "hook f Crashed"]
    assert status == 143


def test_submitted_tasks_end_with_a_flow_that_is_ended(tmp_path: Path) -> None:
    """A signal cancels the submitted tasks first, then crashes the flow."""
    source = """
    @task(task_run_name="t", **all_hooks)
    def t():
        say("ready")
        run_for_ever()

    @flow(flow_run_name="f", **all_hooks)
    def f():
        t.submit()

    f()
    """
    program = Program(source, tmp_path)
    program.until("ready")
    status, stderr = program.end(signal.SIGTERM)
    assert program.lines[-3:] == ["t Cancelled", "f Crashed", "hook f Crashed"], stderr
    assert status == 143, stderr


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
    assert program.lines.count("True") == 2


def test_a_signal_at_any_moment_of_a_wait_crashes_the_run(tmp_path: Path) -> None:
    """A wait for submitted tasks never turns the signal into another error."""
    source = """
    @task
    def t():
        run_for_ever()

    @flow
    def f():
        t.submit()
        sys.setprofile(strike)

    def strike(frame, event, argument):
        global remaining
        # Python 3.14 tells of `__enter__` of a lock. A signal there finds the frame of the `with`;
        # this function would hide that frame, and no handler could know of the lock.
        if getattr(argument, "__name__", "") in ("__enter__", "__exit__"):
            return
        if event in ("call", "c_return") and frame.f_code.co_filename.endswith(FILES):
            remaining -= 1
            if not remaining:
                sys.setprofile(None)
                signal.raise_signal(signal.SIGTERM)

    FILES = ("futures.py", "threading.py", "masks.py", "task_scope.py", "waiting.py")
    ends = []
    for moment in range(1, 25):
        remaining = moment
        try:
            f(return_state=True)
        except TerminationSignal:
            ends.append(moment)
    say("ends", *map(str, ends))
    """
    program = Program(source, tmp_path)
    program.end()
    assert program.lines[-1] == " ".join(["ends", *map(str, range(1, 25))])


@pytest.mark.skipif(sys.platform != "linux", reason="epoll")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_just_before_the_loop_waits(signum: signal.Signals, tmp_path: Path) -> None:
    """It does not end the wait that begins after it, and is handled all the same.

    The signal is raised and the wait begun by two calls in C, between which Python handles none.
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

    @flow(flow_run_name="f", **all_hooks)
    async def f():
        selector = asyncio.get_running_loop()._selector
        selector._selector = Selector(selector._selector)
        armed.append(True)
        await asyncio.Event().wait()

    asyncio.run(f())
    """
    program = Program(source, tmp_path)
    status, stderr = program.end()
    assert program.lines[-2:] == ["f Crashed", "hook f Crashed"], stderr
    assert status in ((143,) if signum == signal.SIGTERM else (-signal.SIGINT, 130))


def test_handlers_are_restored() -> None:
    """After the last run the signals are handled as they were before the first."""
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGURG]
    before = [signal.getsignal(number) for number in numbers]
    during: list[object] = []

    @flow
    def f() -> None:
        during.extend(signal.getsignal(number) for number in numbers)

    f()
    assert all(new is not old for new, old in zip(during, before, strict=True))
    assert [signal.getsignal(number) for number in numbers] == before


def test_handlers_of_the_program_are_not_replaced() -> None:
    """Neither those set before a run, nor those set within it."""
    received: list[int] = []

    def mine(signum: int, frame: object) -> None:
        received.append(signum)

    @flow
    def f() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.signal(signal.SIGINT, mine)

    interrupt = signal.getsignal(signal.SIGINT)
    terminate = signal.signal(signal.SIGTERM, mine)
    try:
        f()
        assert received == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) is mine
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGTERM, terminate)
        signal.signal(signal.SIGINT, interrupt)


def test_another_thread_replaces_no_handlers() -> None:
    """Only the main thread can set signal handlers."""
    guards: list[object] = []
    thread = threading.Thread(target=lambda: guards.append(guard()))
    thread.start()
    thread.join(30)
    assert guards == [None]
