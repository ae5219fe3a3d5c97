"""The composition root: done once, by the first run, for whatever bus is in force."""

from __future__ import annotations

import logging
import threading

import pytest

from eventflow import EventBus, flow, use_bus, wiring
from eventflow.wiring import wired_bus


def test_wired_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many threads come at once, what the settings ask for is attached once."""
    calls: list[int] = []
    meet = threading.Barrier(4)
    monkeypatch.setattr(wiring, "_done", [])
    monkeypatch.setattr("eventflow.wiring.configure", lambda: calls.append(1))

    def work() -> None:
        meet.wait(10)
        wired_bus()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert calls == [1]


def test_the_bus_in_force() -> None:
    """The bus that a run publishes on is the one in force where it is called."""
    with use_bus(EventBus()) as own:
        assert wired_bus() is own
        flow(lambda: None)()
    assert logging.getLogger("eventflow").handlers
