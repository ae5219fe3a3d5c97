"""Writers for tests, in front of a journal and a disk that are not real, and held up commits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from eventflow.journal.wal import spool as spool_module
from eventflow.journal.wal.spool import Spool
from eventflow.journal.wal.writer import Writer
from eventflow.testing import Isolated
from eventflow.wiring import compose
from tests.journal.appended import commit_manually
from tests.journal.fakes import FakeStore, FaultyDisk, StatusLog
from tests.journal.reading import the_recorder
from tests.journal.writing import HEADING


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def status_log() -> StatusLog:
    return StatusLog()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FaultyDisk:
    return FaultyDisk(monkeypatch)


@pytest.fixture
def spool_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "owner"
    folder.mkdir()
    return folder


@pytest.fixture
def no_mapping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every file system be one on which files are written, and not mapped."""
    monkeypatch.setattr(spool_module, "MAPPABLE", frozenset())


@pytest.fixture
def writer(store: FakeStore, status_log: StatusLog, spool_folder: Path) -> Iterator[Writer]:
    """Make a writer whose segments are mapped files."""
    made = Writer(store, status_log, spool=Spool(spool_folder), heading=HEADING)
    yield made
    store.recover()
    made.close()


@pytest.fixture
def written(writer: Writer, no_mapping: None) -> Writer:
    """Make a writer whose segments are written to files."""
    return writer


@pytest.fixture
def unspooled(store: FakeStore, status_log: StatusLog) -> Iterator[Writer]:
    """Make a writer without a spool."""
    made = Writer(store, status_log)
    yield made
    store.recover()
    made.close()


@pytest.fixture(params=["writer", "written", "unspooled"])
def any_writer(request: pytest.FixtureRequest) -> Writer:
    """Make a writer of each kind."""
    made: Writer = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def manual_commits(eventflow_isolated: Isolated) -> None:
    """Have nothing committed but by the test itself, when it flushes or reads."""
    compose(eventflow_isolated.bus)
    the_recorder().sink.begin()
    commit_manually()
