"""The campaign of forwarding in a small size: a receiver that is killed and fails in every way."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.forwarding import forwarded


@pytest.mark.parametrize("batch_size", [1, 50])
def test_no_event_is_lost_or_out_of_order(batch_size: int, tmp_path: Path) -> None:
    """While the receiver is killed and started again; what it refuses for good is dead."""
    outcome = forwarded(200, threads=4, batch_size=batch_size, kills=2, folder=tmp_path)
    assert outcome.is_clean
    assert outcome.events == 600
    assert outcome.poison == 1
