"""Helpers for tests: capture events; flush the journal; isolate bus, home and result cache."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from eventflow.eventbus.bus import EventBus, current_bus, use_bus
from eventflow.events import Event
from eventflow.runs.result_cache import fresh
from eventflow.settings import EVENTFLOW_GUARDIAN, EVENTFLOW_HOME, temporary_settings
from eventflow.wiring import detach, flush

__all__ = ["Isolated", "capture_events", "flush", "isolated"]


class Isolated(NamedTuple):
    """The bus and the home of an `isolated` block."""

    bus: EventBus
    home: Path


@contextmanager
def capture_events() -> Iterator[list[Event]]:
    """Collect every event published on the bus in force, in order, from any thread."""
    events: list[Event] = []
    with current_bus().subscribe(events.append):
        yield events


@contextmanager
def isolated(home: Path | None = None) -> Iterator[Isolated]:
    """Run a block with a bus, a home and a result cache of its own.

    The home is a temporary folder, unless one is given. There is no guardian: the hooks of a test
    that is killed need not run.
    """
    with contextlib.ExitStack() as stack:
        if home is None:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="eventflow-")))
        bus = stack.enter_context(use_bus(EventBus()))
        own = {EVENTFLOW_HOME: str(home), EVENTFLOW_GUARDIAN: False}
        stack.enter_context(temporary_settings(own))
        stack.enter_context(fresh())
        stack.callback(detach, bus)
        yield Isolated(bus, home)
