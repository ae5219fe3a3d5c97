"""A journal with runs in every state, read as the command line reads it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from eventflow.client.archive import Archive
from eventflow.journal import open_journal
from tests.cli.sample_journal import Sample, fill


@pytest.fixture
def sample() -> Iterator[Sample]:
    journal = open_journal("memory://")
    yield fill(journal)
    journal.close()


@pytest.fixture
def archive(sample: Sample) -> Archive:
    return Archive(sample.journal)
