"""The clock of the timer, which stands still, and what was heard."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from eventflow.eventbus import deadlines
from eventflow.eventbus.deadlines import timer
from tests.eventbus.clocks import Clock, Heard


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock()
    monkeypatch.setattr(timer, "clock", made)
    timer.reset()
    yield made
    deadlines.workers.finish()
    timer.reset()


@pytest.fixture
def heard() -> Heard:
    return Heard()
