"""Fixtures for pytest: captured events, and a bus and a home for one test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from eventflow.events import Event
from eventflow.testing import Isolated, capture_events, isolated

__all__ = ["eventflow_events", "eventflow_isolated"]


@pytest.fixture
def eventflow_isolated(tmp_path: Path) -> Iterator[Isolated]:
    """Give a test a bus, a home and a result cache of its own."""
    with isolated(tmp_path / "eventflow-home") as own:
        yield own


@pytest.fixture
def eventflow_events(eventflow_isolated: Isolated) -> Iterator[list[Event]]:
    """Give a test the list of every event that is published during it, on a bus of its own."""
    with capture_events() as events:
        yield events
