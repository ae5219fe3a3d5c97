"""Fixtures for pytest: captured events; an isolated bus and home."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from eventflow.events import Event
from eventflow.testing import Isolated, capture_events, isolated

__all__ = ["eventflow_events", "eventflow_isolated"]


@pytest.fixture
def eventflow_isolated(tmp_path: Path) -> Iterator[Isolated]:
    """Run a test with a bus, a home and a result cache of its own."""
    with isolated(tmp_path / "eventflow-home") as own:
        yield own


@pytest.fixture
def eventflow_events(eventflow_isolated: Isolated) -> Iterator[list[Event]]:
    """Capture every event that is published during a test, on a bus of its own, in a list."""
    with capture_events() as events:
        yield events
