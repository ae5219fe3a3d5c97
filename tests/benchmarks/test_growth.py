"""Growth over many task runs is measured in megabytes, and in how much slower runs become."""

from __future__ import annotations

import pytest

from benchmarks.catalogue import MODES
from benchmarks.growth import WAYS, grown


@pytest.mark.parametrize("journal", ["off", "on"])
@pytest.mark.parametrize("way", WAYS)
def test_growth_is_measured(way: str, journal: str) -> None:
    growth = grown(way, MODES[journal], 20)
    assert abs(growth.memory) < 50
    assert growth.time > 0
