"""Writers and recorders for tests, in front of a journal, a disk and a sink that are not real."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventflow.eventbus.bus import current_bus
from eventflow.journal.recorder import Recorder
from eventflow.journal.spool import Spool
from eventflow.journal.writer import Writer
from tests.journal.fakes import FakeSink, FakeStore, FaultyDisk, StatusLog


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def status_log() -> StatusLog:
    return StatusLog()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FaultyDisk:
    made = FaultyDisk()
    monkeypatch.setattr(os, "write", made.write)
    return made


@pytest.fixture
def spool_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "owner"
    folder.mkdir()
    return folder


@pytest.fixture
def writer(store: FakeStore, status_log: StatusLog, spool_folder: Path) -> Iterator[Writer]:
    """Make a writer with a spool."""
    made = Writer(store, status_log, spool=Spool(spool_folder))
    yield made
    store.recover()
    made.close()


@pytest.fixture
def unspooled(store: FakeStore, status_log: StatusLog) -> Iterator[Writer]:
    """Make a writer without a spool."""
    made = Writer(store, status_log)
    yield made
    store.recover()
    made.close()


@pytest.fixture(params=["writer", "unspooled"])
def any_writer(request: pytest.FixtureRequest) -> Writer:
    """Make a writer with a spool, and one without."""
    made: Writer = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def sink() -> FakeSink:
    """Have the runs on the bus in force recorded, with their lines in a sink."""
    made = FakeSink()
    bus = current_bus()
    bus.recorder = Recorder(made, bus)
    bus.composed = True

    return made
