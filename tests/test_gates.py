"""What one thread lets in, and when. How runs are stopped with it is shown in test_control."""

from __future__ import annotations

import threading

import pytest

from eventflow.gates import Gate, Inside, gate, wait


def test_each_thread_has_a_gate_of_its_own() -> None:
    """It is the same each time it is asked for, and another one elsewhere."""
    found: list[Gate] = []
    thread = threading.Thread(target=lambda: found.append(gate()))
    thread.start()
    thread.join()
    assert gate() is gate()
    assert found[0] is not gate()
    assert found[0].ident == thread.ident


def test_what_is_deferred_is_raised_when_the_engine_is_left() -> None:
    """Not before, only once, and an exit outweighs an interrupt."""
    here = Gate()
    here.enter_engine()
    here.defer(KeyboardInterrupt())
    here.defer(SystemExit(3))
    here.defer(KeyboardInterrupt())
    with pytest.raises(SystemExit):
        here.leave_engine(Inside.NOTHING)
    here.enter_engine()
    here.leave_engine(Inside.NOTHING)
    assert here.inside is Inside.NOTHING


def test_nobody_is_reminded_who_was_not_sent_a_signal() -> None:
    """A reminder is only for a signal whose handler has not run, in a body."""
    here = Gate()
    assert not here.remind()
    here.signalled = True
    here.enter_engine()
    assert not here.remind()


def test_a_wait_ends_with_its_event_or_its_time() -> None:
    """It says which, like the event itself."""
    event = threading.Event()
    assert not wait(event, 0.001)
    event.set()
    assert wait(event)
    assert gate().sleeping is None
