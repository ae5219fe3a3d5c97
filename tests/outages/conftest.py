"""A workload on a home of its own, and a writer that is in no hurry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from eventflow.journal.wal import writer
from eventflow.testing import isolated
from tests.outages.workload import Workload


@pytest.fixture
def workload(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Workload]:
    """Return a workload whose journal is a file in a home of its own."""
    caplog.set_level("WARNING", "eventflow")
    with isolated(tmp_path / "home"):
        yield Workload()


@pytest.fixture
def no_background_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the writer thread leave all records in segments until they are flushed."""
    monkeypatch.setattr(writer, "LINGER_SECONDS", 3600.0)
