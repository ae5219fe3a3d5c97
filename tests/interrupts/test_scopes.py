"""Stopping runs: cancellation and timeouts, at every point of a run's life."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any

import pytest

from eventflow import StateTransition, bus, cancel, flow, task
from eventflow.context import get_run_context
from eventflow.errors import CancelledRun
from eventflow.events import Event
from eventflow.interrupts.scopes import (
    CancelScope,
    Interrupted,
    InterruptMask,
    Reason,
    ThreadPhase,
    live,
    thread_mask,
)

pytestmark = pytest.mark.usefixtures("eventflow_isolated")

STOPPED = ["Pending", "Running", "Cancelling", "Cancelled"]


def path(events: list[Event], name: str) -> list[str]:
    """Give the names of the states that the run of a definition entered."""
    return [
        event.to_state.name
        for event in events
        if isinstance(event, StateTransition) and event.definition_name == name
    ]


def for_ever() -> None:
    """Never end, and never block for long where only the end of the call lets an interrupt in."""
    while True:
        time.sleep(0.001)


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    assert thread_mask().phase is ThreadPhase.NOTHING
    assert thread_mask().bodies == []
    assert thread_mask().deferred is None


class Elsewhere:
    """Cancels, from another thread, the run that says it is ready."""

    def __init__(self) -> None:
        self.run: Any = None
        self.ready = threading.Event()
        self.answers: list[bool] = []
        self._thread = threading.Thread(target=self._cancel)
        self._thread.start()

    def _cancel(self) -> None:
        assert self.ready.wait(30)
        self.answers.append(cancel(self.run.id))

    def go(self) -> None:
        """Have this run cancelled from now on."""
        self.run = get_run_context().run
        self.ready.set()

    def answer(self) -> bool:
        """Wait for what the cancellation gave."""
        self._thread.join(30)
        return self.answers[0]


@pytest.mark.parametrize(
    "body", [for_ever, lambda: time.sleep(600), lambda: threading.Event().wait()]
)
def test_a_sync_flow_in_the_main_thread_is_woken(
    body: Callable[[], object], eventflow_events: list[Event]
) -> None:
    """A cancellation ends a busy loop and a blocking call of the main thread alike."""
    elsewhere = Elsewhere()

    @flow(name="f")
    def f() -> None:
        elsewhere.go()
        body()

    with pytest.raises(CancelledRun):
        f()
    assert elsewhere.answer()
    assert path(eventflow_events, "f") == STOPPED


def test_a_wake_up_that_comes_too_early_is_repeated(
    monkeypatch: pytest.MonkeyPatch, eventflow_events: list[Event]
) -> None:
    """A signal that does not end the blocking call, for it came just before, is sent again."""
    elsewhere, real, lost = Elsewhere(), signal.pthread_kill, list[int]()

    def kill(ident: int, signum: int) -> None:
        if lost:
            real(ident, signum)
        lost.append(signum)

    monkeypatch.setattr(signal, "pthread_kill", kill)

    @flow(name="f")
    def f() -> None:
        elsewhere.go()
        time.sleep(600)

    with pytest.raises(CancelledRun):
        f()
    assert len(lost) > 1
    assert path(eventflow_events, "f") == STOPPED


def test_a_sync_flow_in_another_thread_is_interrupted(eventflow_events: list[Event]) -> None:
    """A cancellation reaches a body in whichever thread executes it."""
    elsewhere = Elsewhere()
    states: list[Any] = []

    @flow(name="f")
    def f() -> None:
        elsewhere.go()
        for_ever()

    thread = threading.Thread(
        target=copy_context().run, args=[lambda: states.append(f(return_state=True))]
    )
    thread.start()
    thread.join(30)
    assert elsewhere.answer()
    assert states[0].is_cancelled
    assert path(eventflow_events, "f") == STOPPED


def test_a_submitted_sync_task_is_interrupted_in_its_worker(eventflow_events: list[Event]) -> None:
    """Cancelling one task run leaves its flow alone."""
    started = threading.Event()

    @task(name="t")
    def t() -> None:
        started.set()
        for_ever()

    @flow(name="f")
    def f() -> bool:
        future = t.submit()
        assert started.wait(30)
        assert cancel(future.task_run_id)
        future.wait()
        return future.state.is_cancelled

    assert f()
    assert path(eventflow_events, "t") == STOPPED
    assert path(eventflow_events, "f") == ["Pending", "Running", "Completed"]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_cancelled_parent_ends_its_children_first(  # noqa: PLR0915 - one story, twice
    is_async: bool, eventflow_events: list[Event]
) -> None:
    """Submitted and inline children end Cancelled, each before the flow around it does."""
    started = threading.Barrier(3)

    @task(name="submitted")
    def submitted() -> None:
        started.wait(30)
        for_ever()

    @task(name="inline")
    def inline() -> None:
        started.wait(30)
        for_ever()

    @flow(name="f")
    def f() -> None:
        runs.append(get_run_context().run)
        submitted.submit()
        inline()

    @flow(name="f")
    async def af() -> None:
        runs.append(get_run_context().run)
        submitted.submit()
        inline()

    def cancel_it() -> None:
        started.wait(30)
        runs[0].cancel()

    runs: list[Any] = []
    thread = threading.Thread(target=cancel_it)
    thread.start()
    with pytest.raises(CancelledRun):
        asyncio.run(af()) if is_async else f()
    thread.join(30)
    assert path(eventflow_events, "submitted") == STOPPED
    assert path(eventflow_events, "inline") == STOPPED
    assert path(eventflow_events, "f") == STOPPED
    last = eventflow_events[-1]
    assert isinstance(last, StateTransition)
    assert (last.definition_name, last.to_state.name) == ("f", "Cancelled")


def test_cancelled_before_its_body_begins(eventflow_events: list[Event]) -> None:
    """A run that is cancelled while it is Pending never runs its body."""
    called: list[int] = []

    @flow(name="f")
    def f() -> None:
        called.append(1)

    def stop(event: Any) -> None:
        if event.to_state.name == "Pending":
            assert event.run.cancel()

    with bus.subscribe(stop, run_type="flow"), pytest.raises(CancelledRun):
        f()
    assert not called
    assert path(eventflow_events, "f") == ["Pending", "Cancelling", "Cancelled"]


@pytest.mark.parametrize("is_async", [False, True])
def test_cancelled_during_the_sleep_before_a_retry(
    is_async: bool, eventflow_events: list[Event]
) -> None:
    """A cancellation does not wait for the end of a retry's delay."""

    def fails() -> None:
        raise ValueError

    async def afails() -> None:
        raise ValueError

    slow = flow(name="f", retries=1, retry_delay_seconds=600)
    states: list[Any] = []

    def later(event: Any) -> None:
        run = event.run
        threading.Thread(target=run.cancel).start()

    with bus.subscribe(later, state="AwaitingRetry"):
        if is_async:
            states.append(asyncio.run(slow(afails)(return_state=True)))
        else:
            states.append(slow(fails)(return_state=True))
    assert states[0].is_cancelled
    assert path(eventflow_events, "f") == [
        "Pending", "Running", "AwaitingRetry", "Cancelling", "Cancelled",
    ]  # fmt: skip


@pytest.mark.parametrize("is_async", [False, True])
def test_cancelled_in_a_hook(is_async: bool, eventflow_events: list[Event]) -> None:
    """A hook runs to its end although it cancels its run; then the run is cancelled."""
    ended: list[str] = []

    def stop(flow: Any, run: Any, state: Any) -> None:
        assert run.cancel()
        time.sleep(0.005)
        ended.append(state.name)

    @flow(name="f", on_running=[stop])
    def f() -> None:
        for_ever()

    @flow(name="f", on_running=[stop])
    async def af() -> None:
        await asyncio.Event().wait()

    with pytest.raises(CancelledRun):
        asyncio.run(af()) if is_async else f()
    assert ended == ["Running"]
    assert path(eventflow_events, "f") == STOPPED


def test_a_cancellation_that_was_accepted_is_never_lost(eventflow_events: list[Event]) -> None:
    """Once `cancel` has said yes, the run ends Cancelled, even if its body was just returning."""

    @flow(name="f")
    def f() -> str:
        try:
            assert get_run_context().run.cancel()
            for_ever()
        except Interrupted:
            return "swallowed"
        return "not reached"

    assert f(return_state=True).is_cancelled
    assert path(eventflow_events, "f") == STOPPED


def test_cancelling_twice_and_after_the_end_says_no(eventflow_events: list[Event]) -> None:
    """Only the first cancellation of a run that is alive is accepted."""
    answers: list[bool] = []

    @flow(name="f")
    def f() -> None:
        run = get_run_context().run
        runs.append(run)
        try:
            run.cancel()
            for_ever()
        finally:
            answers.append(run.cancel())

    runs: list[Any] = []
    with pytest.raises(CancelledRun):
        f()
    answers += [runs[0].cancel(), cancel(runs[0].id)]
    assert answers == [False, False, False]
    assert path(eventflow_events, "f") == STOPPED
    assert runs[0].id not in live


def test_a_submitted_run_can_be_cancelled_by_id_before_it_begins(
    eventflow_events: list[Event],
) -> None:
    """A run that waits for its upstream is known by its id, and its body is never called."""
    go = threading.Event()
    called: list[int] = []

    @task(name="first")
    def first() -> None:
        assert go.wait(30)

    @task(name="second")
    def second(first: object) -> None:
        called.append(1)

    @flow(name="f")
    def f() -> bool:
        upstream = first.submit()
        future = second.submit(first=upstream, wait_for=None)
        accepted = cancel(future.task_run_id)
        go.set()
        future.wait()
        return accepted and future.state.is_cancelled

    assert f()
    assert not called
    assert path(eventflow_events, "second") == ["Pending", "Cancelling", "Cancelled"]


# ------------------------------------------------------------------------------------- timeouts


def test_an_inner_timeout_leaves_the_outer_run_alone(eventflow_events: list[Event]) -> None:
    """A task's timeout is the task's; its flow may go on."""

    @task(name="t", timeout_seconds=0.01)
    def t() -> None:
        for_ever()

    @flow(name="f", timeout_seconds=600)
    def f() -> str:
        return t(return_state=True).name

    assert f() == "TimedOut"
    assert path(eventflow_events, "t") == ["Pending", "Running", "TimedOut"]
    assert path(eventflow_events, "f") == ["Pending", "Running", "Completed"]


@pytest.mark.parametrize("is_async", [False, True])
def test_an_outer_timeout_cancels_the_inner_run(
    is_async: bool, eventflow_events: list[Event]
) -> None:
    """A flow's timeout ends its task Cancelled, then itself TimedOut."""

    @task(name="t", timeout_seconds=600, retries=3)
    def t() -> None:
        for_ever()

    @flow(name="f", timeout_seconds=0.01)
    def f() -> None:
        t()

    @task(name="t", timeout_seconds=600, retries=3)
    async def at() -> None:
        await asyncio.Event().wait()

    @flow(name="f", timeout_seconds=0.01)
    async def af() -> None:
        await at()

    state = asyncio.run(af(return_state=True)) if is_async else f(return_state=True)
    assert state.name == "TimedOut"
    assert path(eventflow_events, "t") in (STOPPED, [])
    assert path(eventflow_events, "f") == ["Pending", "Running", "TimedOut"]


def test_two_timeouts_at_once_do_not_lose_the_outer_one(eventflow_events: list[Event]) -> None:
    """Both cancel the same asyncio task in one turn of the loop; one exception serves both."""

    @task(name="t")
    async def t() -> None:
        inner.append(get_run_context().run.cancel_scope)
        await asyncio.Event().wait()

    @flow(name="f", timeout_seconds=600)
    async def f() -> None:
        cancel_scope = get_run_context().run.cancel_scope
        asyncio.get_running_loop().call_later(0.01, both, cancel_scope)
        await t(return_state=True)
        await asyncio.Event().wait()

    def both(outer: CancelScope) -> None:
        for cancel_scope in (inner[0], outer):
            cancel_scope.reason = Reason.TIMED_OUT
            cancel_scope._interrupt()

    inner: list[CancelScope] = []
    t = t.with_options()
    state = asyncio.run(f.with_options(timeout_seconds=600)(return_state=True))
    assert state.name == "TimedOut"
    assert path(eventflow_events, "t")[-1] == "Cancelled"


def test_each_attempt_has_its_own_time(eventflow_events: list[Event]) -> None:
    """A timer of an attempt that ended cannot stop the next one."""
    attempts: list[int] = []

    @flow(name="f", timeout_seconds=0.02, retries=1)
    def f() -> int:
        attempts.append(1)
        if len(attempts) == 1:
            for_ever()
        return len(attempts)

    assert f() == 2
    assert path(eventflow_events, "f") == [
        "Pending", "Running", "AwaitingRetry", "Retrying", "Completed",
    ]  # fmt: skip


def test_a_timer_that_was_stopped_stops_nothing() -> None:
    """A timer that comes late finds that it is no longer the one that counts."""
    cancel_scope = CancelScope(None)
    timer = cancel_scope.start_timer()
    cancel_scope.stop_timer()
    cancel_scope.expire(timer)
    assert cancel_scope.reason is None
    later = cancel_scope.start_timer()
    cancel_scope.expire(timer)
    assert cancel_scope.reason is None
    cancel_scope.expire(later)
    assert cancel_scope.take_timeout()
    assert not cancel_scope.take_timeout()


def test_a_late_knock_finds_its_reason_gone() -> None:
    """An interrupt whose reason has been dealt with does not hit the next attempt."""
    cancel_scope = CancelScope(None)

    def body() -> str:
        cancel_scope._mask = thread_mask()
        thread_mask().interrupt(cancel_scope)
        return "undisturbed"

    try:
        assert cancel_scope.call(body) == "undisturbed"
    finally:
        thread_mask().phase = ThreadPhase.NOTHING


def test_an_interrupt_on_its_way_is_called_back() -> None:
    """A knock at the very end of a body is not raised in the engine after it."""

    def work() -> None:
        cancel_scope = CancelScope(None)

        def body() -> None:
            cancel_scope.reason = Reason.CANCELLED
            thread_mask()._knocked = True

        cancel_scope.call(body)
        outcome.append(thread_mask().phase)

    outcome: list[ThreadPhase] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(30)
    assert outcome == [ThreadPhase.ENGINE]


def test_a_thread_can_be_traced_after_an_interrupt_was_called_back() -> None:
    """A debugger or a coverage tool does not hang at an interrupt that nobody is to get."""
    source = """
    import sys, threading
    from eventflow.interrupts.scopes import CancelScope, Reason, thread_mask

    def body():
        cancel_scope.reason = Reason.CANCELLED
        thread_mask()._knocked = True

    def work():
        cancel_scope.call(body)

    def trace(*_):
        return trace

    cancel_scope = CancelScope(None)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    sys.settrace(trace)
    trace()
    (lambda: None)()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(source)], check=True, timeout=60)


def test_interrupts_at_any_moment_leave_the_gate_in_order() -> None:  # noqa: C901 - three threads
    """However an interrupt falls around the end of a body, the gate is shut and empty after it."""
    rounds = 300
    problems: list[str] = []

    def work() -> None:
        here = thread_mask()
        for _ in range(rounds):
            cancel_scope = CancelScope(None)
            cancel_scopes.append(cancel_scope)
            turn.wait(30)
            try:
                cancel_scope.call(lambda: [None for _ in range(20)])
            except Interrupted:
                pass
            except BaseException as error:
                problems.append(repr(error))
            if here.phase is not ThreadPhase.ENGINE or here.bodies:
                problems.append(f"{here.phase} {here.bodies}")
            here.phase = ThreadPhase.NOTHING

    cancel_scopes: list[CancelScope] = []
    turn = threading.Barrier(3)
    threads = [threading.Thread(target=work)]

    def knock(reason: Reason) -> None:
        for number in range(rounds):
            turn.wait(30)
            cancel_scope = cancel_scopes[number]
            for _ in range(number % 30):
                pass
            cancel_scope.stop(reason)

    threads += [threading.Thread(target=knock, args=[reason]) for reason in Reason]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not problems


# ------------------------------------------------------------------- asyncio's own cancellation


def test_a_timed_out_run_leaves_nothing_on_its_task(eventflow_events: list[Event]) -> None:
    """What eventflow asked of a task it takes back: blocks of the user's around it stay whole."""

    @flow(name="f", timeout_seconds=0.01)
    async def f() -> None:
        await asyncio.Event().wait()

    @flow(name="g")
    async def g() -> None:
        get_run_context().run.cancel()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError from None

    async def main() -> int:
        async with asyncio.timeout(600), asyncio.TaskGroup() as group:
            await f(return_state=True)
            await g(return_state=True)
            group.create_task(asyncio.sleep(0))
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert asyncio.run(main()) == 0
    assert path(eventflow_events, "f")[-1] == "TimedOut"
    assert path(eventflow_events, "g") == STOPPED


def test_a_timeout_of_the_users_around_a_run_crashes_it(eventflow_events: list[Event]) -> None:
    """A cancellation from outside is a crash to the run, and still a TimeoutError to its user."""

    @flow(name="f")
    async def f() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        async with asyncio.timeout(0.01):
            await f()

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert path(eventflow_events, "f") == ["Pending", "Running", "Crashed"]


def test_an_outside_cancellation_is_not_swallowed_by_ours(eventflow_events: list[Event]) -> None:
    """If both come at once the run is Cancelled, and the task is cancelled as it was asked."""

    @flow(name="f")
    async def f() -> None:
        get_run_context().run.cancel()
        current = asyncio.current_task()
        assert current is not None
        asyncio.get_running_loop().call_soon(current.cancel)
        await asyncio.Event().wait()

    async def main() -> None:
        running = asyncio.create_task(f())
        with pytest.raises(asyncio.CancelledError):
            await running
        assert running.cancelled()

    asyncio.run(main())
    assert path(eventflow_events, "f") == STOPPED


def test_a_closed_coroutine_crashes_its_run_with_its_hooks(eventflow_events: list[Event]) -> None:
    """A driver that is broken off by GeneratorExit still publishes the end, and runs the hooks."""
    crashed: list[str] = []

    @flow(name="f", on_crashed=[lambda flow, run, state: crashed.append(state.name)])
    async def f() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        coroutine = f()
        coroutine.send(None)
        coroutine.close()

    asyncio.run(main())
    assert crashed == ["Crashed"]
    assert path(eventflow_events, "f") == ["Pending", "Running", "Crashed"]


def test_async_runs_in_the_loop_of_a_sync_body_are_stopped_as_tasks(
    eventflow_events: list[Event],
) -> None:
    """A sync flow that runs a loop of its own has its async runs cancelled, not torn apart."""

    @flow(name="inner")
    async def inner() -> None:
        await asyncio.Event().wait()

    @flow(name="outer", timeout_seconds=0.05)
    def outer() -> None:
        asyncio.run(inner())

    assert outer(return_state=True).name == "TimedOut"
    assert path(eventflow_events, "inner") == STOPPED
    assert path(eventflow_events, "outer") == ["Pending", "Running", "TimedOut"]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("is_async", [False, True])
def test_an_exit_crashes_a_run_and_goes_on(
    kind: type[BaseException], is_async: bool, eventflow_events: list[Event]
) -> None:
    """An exit or an interrupt raised by a body crashes its runs outwards and reaches the caller."""

    @task(name="t")
    def t() -> None:
        raise kind

    @flow(name="f")
    def f() -> None:
        t()

    @flow(name="f")
    async def af() -> None:
        t()

    with pytest.raises(kind):
        asyncio.run(af()) if is_async else f()
    assert path(eventflow_events, "t") == ["Pending", "Running", "Crashed"]
    assert path(eventflow_events, "f") == ["Pending", "Running", "Crashed"]


@pytest.mark.parametrize("is_async", [False, True])
def test_an_exit_in_a_submitted_task_stays_there(
    is_async: bool, eventflow_events: list[Event]
) -> None:
    """It crashes the task run; neither its worker nor its loop ends, and the flow decides."""

    def exits() -> None:
        raise SystemExit(4)

    async def aexits() -> None:
        raise SystemExit(4)

    t: Any = task(name="t")(aexits if is_async else exits)

    @flow(name="f")
    def f() -> bool:
        future = t.submit()
        future.wait()
        return bool(future.state.is_crashed)

    assert f()
    assert path(eventflow_events, "t") == ["Pending", "Running", "Crashed"]


def test_a_stray_thread_has_a_gate_of_its_own() -> None:
    """Gates are one for each thread."""
    gates: list[InterruptMask] = []
    thread = threading.Thread(target=lambda: gates.append(thread_mask()))
    thread.start()
    thread.join(30)
    assert gates[0] is not thread_mask()
