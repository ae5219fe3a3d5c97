"""Cancel scopes: timers, and interrupts at the edges of a body."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from eventflow import flow
from eventflow.errors import CancelledRun
from eventflow.events import Event
from eventflow.interrupts.masks import Interrupted, ThreadPhase, this_thread
from eventflow.interrupts.scopes import CancelScope, Reason
from tests.interrupts.helpers import CANCELLED, CancellingThread, states_of

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


def test_a_timer_that_was_stopped_stops_nothing() -> None:
    """A timer that fires late is not the present one any more, and is ignored."""
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


def test_an_interrupt_without_a_reason_is_ignored() -> None:
    """An interrupt whose reason has been removed does not reach the next attempt."""
    cancel_scope = CancelScope(None)

    def body() -> str:
        this_thread.mask.interrupt(cancel_scope)
        return "undisturbed"

    try:
        assert cancel_scope.call(body) == "undisturbed"
    finally:
        this_thread.mask.phase = ThreadPhase.NOTHING


def test_a_pending_interrupt_is_discarded_at_the_end_of_the_body() -> None:
    """It is not raised in the engine afterwards."""

    def work() -> None:
        cancel_scope = CancelScope(None)

        def body() -> None:
            cancel_scope.reason = Reason.CANCELLED
            this_thread.mask._async_exc_pending = True

        cancel_scope.call(body)
        phases.append(this_thread.mask.phase)

    phases: list[ThreadPhase] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(30)
    assert phases == [ThreadPhase.ENGINE]


def test_a_thread_can_be_traced_after_an_interrupt_was_discarded() -> None:
    """A debugger or a coverage tool does not hang."""
    source = """
    import sys, threading
    from eventflow.interrupts.masks import this_thread
    from eventflow.interrupts.scopes import CancelScope, Reason

    def body():
        cancel_scope.reason = Reason.CANCELLED
        this_thread.mask._async_exc_pending = True

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


def test_interrupts_at_any_moment_leave_the_thread_masked() -> None:  # noqa: C901 - three threads
    """Whenever an interrupt arrives around the end of a body, the thread is masked after it."""
    rounds = 300
    problems: list[str] = []

    def work() -> None:
        mask = this_thread.mask
        for _ in range(rounds):
            cancel_scope = CancelScope(None)
            cancel_scopes.append(cancel_scope)
            start.wait(30)
            try:
                cancel_scope.call(lambda: [None for _ in range(20)])
            except Interrupted:
                pass
            except BaseException as error:
                problems.append(repr(error))
            if mask.phase is not ThreadPhase.ENGINE or mask.bodies:
                problems.append(f"{mask.phase} {mask.bodies}")
            mask.phase = ThreadPhase.NOTHING

    cancel_scopes: list[CancelScope] = []
    start = threading.Barrier(3)
    threads = [threading.Thread(target=work)]

    def stop(reason: Reason) -> None:
        for number in range(rounds):
            start.wait(30)
            cancel_scope = cancel_scopes[number]
            for _ in range(number % 30):
                pass
            cancel_scope.stop(reason)

    threads += [threading.Thread(target=stop, args=[reason]) for reason in Reason]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not problems


def test_a_wake_signal_that_comes_too_early_is_sent_again(
    monkeypatch: pytest.MonkeyPatch, eventflow_events: list[Event]
) -> None:
    """A signal just before a blocking call does not end the call; the next one does."""
    canceller, real, sent = CancellingThread(), signal.pthread_kill, list[int]()

    def kill(ident: int, signum: int) -> None:
        if sent:  # the first one is lost
            real(ident, signum)
        sent.append(signum)

    monkeypatch.setattr(signal, "pthread_kill", kill)

    @flow(name="f")
    def f() -> None:
        canceller.begin()
        time.sleep(600)

    with pytest.raises(CancelledRun):
        f()
    assert len(sent) > 1
    assert states_of(eventflow_events, "f") == CANCELLED
