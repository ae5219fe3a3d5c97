"""Cancelling a run by its id."""

from __future__ import annotations

import threading
from typing import Any
from uuid import uuid4

import pytest

from eventflow import bus, cancel, flow
from eventflow.errors import CancelledRun
from eventflow.events import Event

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
