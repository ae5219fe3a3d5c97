"""Fixtures for the tests of owners."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventflow.settings import EVENTFLOW_DURABILITY, EVENTFLOW_JOURNAL_URL, temporary_settings
from eventflow.testing import Isolated, isolated


@pytest.fixture(params=["process", "power", "postgresql"])
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Isolated]:
    """Use a bus with each kind of journal that other processes can read."""
    values: dict[Any, object] = {EVENTFLOW_DURABILITY: request.param}
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
        values = {EVENTFLOW_JOURNAL_URL: url}
    with temporary_settings(values), isolated(tmp_path / "own") as made:
        yield made
