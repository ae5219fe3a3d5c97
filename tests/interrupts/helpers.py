"""What the tests of stopped runs share: bodies that never end, and who cancels them."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

from eventflow import StateTransition, cancel
from eventflow.context import get_run_context
from eventflow.events import Event

__all__ = ["CANCELLED", "CancellingThread", "run_for_ever", "states_of"]

CANCELLED: Final = ["Pending", "Running", "Cancelling", "Cancelled"]


def states_of(events: list[Event], name: str) -> list[str]:
    """Return the names of the states that the run of a definition entered."""
    return [
        event.to_state.name
        for event in events
        if isinstance(event, StateTransition) and event.definition_name == name
    ]


def run_for_ever() -> None:
    """Never end, and never block for long where only the end of the call lets an interrupt in."""
    while True:
        time.sleep(0.001)


class CancellingThread:
    """A thread that cancels a run once the run's body says so."""

    def __init__(self) -> None:
        self._run: Any = None
        self._ready = threading.Event()
        self._answers: list[bool] = []
        self._thread = threading.Thread(target=self._cancel)
        self._thread.start()

    def _cancel(self) -> None:
        assert self._ready.wait(30)
        self._answers.append(cancel(self._run.id))

    def begin(self) -> None:
        """Have the run in force cancelled from now on."""
        self._run = get_run_context().run
        self._ready.set()

    def answer(self) -> bool:
        """Wait for the end of the thread; return what `cancel` returned."""
        self._thread.join(30)
        return self._answers[0]
