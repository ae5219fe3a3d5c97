"""The clock of the timer, which stands still, and what was heard."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.eventbus.clocks import Clock, Heard, timer_on


@pytest.fixture
def clock() -> Iterator[Clock]:
    made = Clock()
    with timer_on(made):
        yield made


@pytest.fixture
def heard() -> Heard:
    return Heard()
