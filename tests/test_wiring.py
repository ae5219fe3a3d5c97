"""The composition root: a bus is composed once, by the first run on it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from eventflow import EventBus, flow, use_bus
from eventflow.errors import SettingError
from eventflow.eventbus.bus import bus_of_runs
from eventflow.owners.session import OwnerSession
from eventflow.settings import (
    EVENTFLOW_DURABILITY,
    EVENTFLOW_GUARDIAN,
    EVENTFLOW_JOURNAL_URL,
    temporary_settings,
)
from eventflow.testing import Isolated
from eventflow.wiring import detach, recorder

ROOT = Path(__file__).parent.parent


def test_a_bus_is_composed_once(eventflow_isolated: Isolated) -> None:
    """However many threads run on it at once, they get the same recorder."""
    meet = threading.Barrier(4)
    recorders: list[object] = []

    def work() -> None:
        with use_bus(eventflow_isolated.bus):
            meet.wait(10)
            recorders.append(bus_of_runs().recorder)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(recorders) == 4
    assert len(set(map(id, recorders))) == 1


def test_logging_is_configured_by_the_first_run_only(
    caplog: pytest.LogCaptureFixture, eventflow_isolated: Isolated
) -> None:
    """What the program changes after it stays, also when another bus is composed."""
    flow(lambda: None)()
    caplog.set_level(35, "eventflow")
    with use_bus(EventBus()) as own:
        flow(lambda: None)()
        assert own.composed
        assert logging.getLogger("eventflow").level == 35
        detach(own)


def test_the_bus_in_force_is_composed(eventflow_isolated: Isolated) -> None:
    """A run composes, and publishes on, the bus that is in force where it is called."""
    with use_bus(EventBus()) as own:
        assert recorder() is None
        assert bus_of_runs() is own
        flow(lambda: None)()
        assert recorder() is own.recorder is not None
        detach(own)
        assert recorder() is None
    assert logging.getLogger("eventflow").handlers


def test_buses_with_one_journal_are_one_owner(eventflow_isolated: Isolated) -> None:
    """It ends when the last of them is detached, in whatever order."""
    first, second = EventBus(), EventBus()
    owners = []
    for own in (first, second):
        with use_bus(own):
            flow(lambda: None)()
            attached = recorder()
            assert attached is not None
            owners.append(attached.owner_id)
    assert owners[0] == owners[1]
    (folder,) = eventflow_isolated.home.glob("journal.db-owners/*")
    detach(second)
    detach(second)
    assert folder.is_dir()
    detach(first)
    assert not folder.exists()


def test_a_bus_keeps_the_settings_of_its_first_run(eventflow_isolated: Isolated) -> None:
    """Another bus may have another journal, or none."""
    flow(lambda: None)()
    before = recorder()
    with temporary_settings({EVENTFLOW_JOURNAL_URL: "memory://"}), use_bus(EventBus()) as own:
        flow(lambda: None)()
        attached = recorder()
        assert attached is not None
        assert before is not None
        assert attached.journal is not before.journal
        detach(own)
    with temporary_settings({EVENTFLOW_DURABILITY: "off"}):
        flow(lambda: None)()
        assert recorder() is before
        with use_bus(EventBus()) as own:
            flow(lambda: None)()
            assert own.composed
            assert recorder() is None
            detach(own)


def test_a_wrong_setting_is_an_error_of_each_run(eventflow_isolated: Isolated) -> None:
    """Until it is corrected."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVENTFLOW_DURABILITY", "maybe")
        for _ in range(2):
            with pytest.raises(SettingError, match="EVENTFLOW_DURABILITY"):
                flow(lambda: None)()
    assert recorder() is None
    flow(lambda: None)()
    assert recorder() is not None
    assert EVENTFLOW_GUARDIAN.value() is False


@pytest.mark.parametrize("definition", ["flow", "task"])
def test_what_is_taken_from_its_module_is_journalled(definition: str, tmp_path: Path) -> None:
    """The bus is composed whatever part of eventflow a program imports."""
    script = f"""
from eventflow.{definition}s import {definition}

{definition}(lambda: None)()
from eventflow.wiring import recorder
print(recorder() is not None)
"""
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=os.environ | {"EVENTFLOW_HOME": str(tmp_path), "EVENTFLOW_DURABILITY": "process"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.stdout == "True\n", ended.stderr


class _Closed:
    """What a journal's session is closed by, with a flow that is run meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ran: list[int] = []
        self._bus = bus_of_runs()
        close = OwnerSession.close

        def run_and_close(session: OwnerSession) -> None:
            if not self.ran:
                self.run()
            close(session)

        monkeypatch.setattr(OwnerSession, "close", run_and_close)

    def run(self) -> None:
        with use_bus(self._bus):
            self.ran.append(flow(lambda: 1)())


@pytest.mark.parametrize("where", ["the closing thread", "a thread that is waited for"])
def test_a_finalizer_may_run_a_flow_while_a_journal_is_closed(
    eventflow_isolated: Isolated, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """So may a signal handler: neither this thread nor the one that it waits for stands still."""
    assert flow(lambda: 1)() == 1
    closed = _Closed(monkeypatch)
    if where == "a thread that is waited for":
        run = closed.run

        def run_elsewhere() -> None:
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()

        monkeypatch.setattr(closed, "run", run_elsewhere)
    closing = threading.Thread(target=detach, args=[eventflow_isolated.bus], daemon=True)
    closing.start()
    closing.join(30)

    assert not closing.is_alive()
    assert closed.ran == [1]


def test_a_finalizer_may_run_a_flow_while_a_bus_is_composed(
    eventflow_isolated: Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bus then has the recorder of that flow, and no second one."""
    recorders: list[Any] = []
    opened = OwnerSession.__init__

    def open_after_flow(session: OwnerSession, *arguments: Any) -> None:
        if not recorders:
            recorders.append(None)
            flow(lambda: 1)()
            recorders.append(recorder())
        opened(session, *arguments)

    monkeypatch.setattr(OwnerSession, "__init__", open_after_flow)

    def compose_bus() -> None:
        with use_bus(eventflow_isolated.bus):
            bus_of_runs()

    composing = threading.Thread(target=compose_bus, daemon=True)
    composing.start()
    composing.join(30)

    assert not composing.is_alive()
    attached = eventflow_isolated.bus.recorder
    assert attached is recorders[1] is not None
    detach(eventflow_isolated.bus)
    assert not attached.sink.begun
