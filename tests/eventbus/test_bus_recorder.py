"""The recorder of a bus: it comes before listeners and hooks, and may make publishers wait."""

from __future__ import annotations

import asyncio
import threading
from logging import LogRecord
from typing import Any

import pytest

from eventflow import Event, bus, hook, task
from eventflow.eventbus.publication import fact
from eventflow.events import JournalRecovered
from eventflow.runs.run import Run
from eventflow.testing import Isolated


class Fact(Event):
    number: int = 0


@task
def work(fail: bool = False) -> None:
    if fail:
        raise ValueError("no")


class NotingRecorder:
    """A recorder that notes its calls, and may have publishers wait."""

    def __init__(self, *, waits: bool) -> None:
        self.waits = waits
        self.notes: list[Any] = []

    def record(self, fact: Any, owed: Any, *, observed: bool) -> bool:
        """Note a transition, the hooks that it is owed to, and whether it is observed."""
        self.notes.append((fact.to_state.name, [hook.listener.__name__ for hook in owed], observed))
        return self.waits

    def record_event(self, event: Event) -> None:
        """Note an event of the user's own."""
        self.notes.append(event)

    def record_log(self, run: Run | None, number: int, record: LogRecord) -> None:
        """Do nothing."""

    def wait(self) -> None:
        """Note the call, and its thread."""
        self.notes.append("wait")
        self.waited_in = threading.current_thread()

    def owe_lasted(self, fact: Any, owed: Any) -> list[tuple[Any, int]]:
        """Note the call."""
        self.notes.append("lasted")
        return [(each, 0) for each in owed]

    waited_in: threading.Thread | None = None


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_recorder_comes_before_listeners_and_hooks(
    way: str, waits: bool, eventflow_isolated: Isolated
) -> None:
    """It gets each transition, with the hooks that it is owed to, before they do."""
    own = eventflow_isolated.bus
    own.recorder = recorder = NotingRecorder(waits=waits)
    own.composed = True
    bus.subscribe(lambda event: recorder.notes.append("listener"), state="Completed")

    def first(*_: Any) -> None:
        recorder.notes.append("first")

    async def second(*_: Any) -> None:
        recorder.notes.append("second")

    hook(state="Completed")(first)
    hook(state="Completed")(second)

    @task
    async def awork() -> None: ...

    if way == "sync":
        work()
    else:
        asyncio.run(awork())
    wait = ["wait"] if waits else []
    assert recorder.notes == [
        *(("Pending", [], False), *wait, ("Running", [], False), *wait),
        *(("Completed", ["first", "second"], True), *wait, "listener", "first", "second"),
    ]
    if waits:
        # An event loop must not be blocked.
        is_own_thread = recorder.waited_in is threading.current_thread()
        assert is_own_thread == (way == "sync")
    own.recorder = None


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_recorder_gets_users_own_events(way: str, eventflow_isolated: Isolated) -> None:
    """As they are published, with what they follow, before listeners; and no other events."""
    own = eventflow_isolated.bus
    seen: list[Event] = []
    bus.subscribe(seen.append, state="Completed")
    work()
    own_recorder, own.recorder = own.recorder, (recorder := NotingRecorder(waits=True))
    bus.subscribe(lambda event: recorder.notes.append("listener"), event_type=Fact)
    given = (Fact(number=1), fact(JournalRecovered, lost=0), seen[0], Fact(number=2))

    async def publish() -> None:
        for event in given:
            await bus.apublish(event, follows=seen[0])

    if way == "async":
        asyncio.run(publish())
    else:
        for event in given:
            bus.publish(event, follows=seen[0])
    first, heard, second, heard_again = recorder.notes
    assert (first.number, heard, second.number, heard_again) == (1, "listener", 2, "listener")
    assert first.follows == second.follows == seen[0].id
    own.recorder = own_recorder
