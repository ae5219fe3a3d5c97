"""Cancelling a run by its id."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID, uuid4

import pytest

from eventflow import bus, cancel, flow
from eventflow.errors import CancelledRun
from eventflow.events import Event
from eventflow.interrupts.cancellation import register_canceller

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


def test_cancelling_by_id(eventflow_events: list[Event]) -> None:
    """A run is cancelled by its id, as a UUID or as text, and only once."""
    answers: list[bool] = []
    hooks: list[str] = []

    def both(event: Any) -> None:
        answers.extend([cancel(str(event.run_id)), cancel(event.run_id)])

    bus.subscribe(both, state="Running", name="main")

    @flow(on_cancellation=[lambda flow, run, state: hooks.append(state.name)])
    def main() -> None:
        threading.Event().wait(3600)

    with pytest.raises(CancelledRun):
        main()
    assert answers == [True, False]
    assert hooks == ["Cancelling"]


def test_a_run_that_is_not_active_is_not_cancelled() -> None:
    """Neither one that has ended, nor an id that nobody knows."""
    runs: list[Any] = []
    flow(on_completion=[lambda flow, run, state: runs.append(run)])(lambda: 1)()

    assert not cancel(runs[0].id)
    assert not cancel(uuid4())
    with pytest.raises(ValueError, match="badly formed"):
        cancel("no id")


def test_an_id_of_another_type_is_refused() -> None:
    """The error names what was passed."""
    with pytest.raises(TypeError, match="A run's id is a UUID or a string, but got 7"):
        cancel(7)  # type: ignore[arg-type]


def test_runs_of_other_processes_are_cancelled_by_registered_cancellers() -> None:
    """A canceller is called for those runs alone that are not executed in this process."""
    requested: list[UUID] = []
    answers: list[bool] = []
    known = uuid4()

    def request(run_id: UUID) -> bool:
        requested.append(run_id)
        return run_id == known

    bus.subscribe(lambda event: answers.append(cancel(event.run_id)), state="Running")
    unregister = register_canceller(request)
    try:
        assert cancel(str(known))
        assert not cancel(uuid4())
        assert flow(lambda: 1)(return_state=True).is_cancelled()
    finally:
        unregister()
        unregister()
    assert answers == [True]
    assert requested[0] == known
    assert len(requested) == 2
    assert not cancel(known)
