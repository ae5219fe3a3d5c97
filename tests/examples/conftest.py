"""A sandbox for every test that runs an example."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples.sandbox import Sandbox


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    """Return a home, an environment and a recording `gcloud`."""
    return Sandbox(tmp_path)
