"""Cancelling a run by its id."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID, uuid4

import pytest

from eventflow import bus, cancel, flow
from eventflow.errors import CancelledRun
from eventflow.events import Event
from eventflow.interrupts.cancellation import elsewhere

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


def test_runs_that_are_not_here() -> None:
    """A run that has ended, or that nobody knows, is not cancelled."""
    runs: list[Any] = []
    flow(on_completion=[lambda flow, run, state: runs.append(run)])(lambda: 1)()

    assert not cancel(runs[0].id)
    assert not cancel(uuid4())
    with pytest.raises(ValueError, match="badly formed"):
        cancel("no id")


def test_what_is_no_id() -> None:
    """Something of another type is refused, and said."""
    with pytest.raises(TypeError, match="A run's id is a UUID or a string, but got 7"):
        cancel(7)  # type: ignore[arg-type]


def test_runs_of_other_processes_are_asked_for_elsewhere() -> None:
    """Who knows of them is asked for those alone that are not executed here."""
    asked: list[UUID] = []
    answers: list[bool] = []
    known = uuid4()

    def ask(run_id: UUID) -> bool:
        asked.append(run_id)
        return run_id == known

    bus.subscribe(lambda event: answers.append(cancel(event.run_id)), state="Running")
    end = elsewhere(ask)
    try:
        assert cancel(str(known))
        assert not cancel(uuid4())
        assert flow(lambda: 1)(return_state=True).is_cancelled
    finally:
        end()
        end()
    assert answers == [True]
    assert asked[0] == known
    assert len(asked) == 2
    assert not cancel(known)
