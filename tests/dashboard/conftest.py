"""The page over a journal with runs in every state."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from eventflow.dashboard.app import create_app
from eventflow.journal import open_journal
from eventflow.settings import EVENTFLOW_JOURNAL_URL
from tests.cli.sample_journal import Sample, fill
from tests.dashboard.browsing import Browser

TOKEN = "a-token-of-tests"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventflow_isolated: object) -> Path:
    """Put a journal file in a home of its own in force."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("EVENTFLOW_HOME", str(folder))
    monkeypatch.setenv("EVENTFLOW_JOURNAL_URL", f"sqlite:///{folder}/journal.db")

    return folder


@pytest.fixture(scope="module")
def one_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Start a browser once for a module: that takes longer than most tests."""
    made = Browser(tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


@pytest.fixture
def sample() -> Iterator[Sample]:
    """Fill the journal."""
    journal = open_journal(EVENTFLOW_JOURNAL_URL.value())
    yield fill(journal)
    journal.close()


@pytest.fixture
def stranger() -> Iterator[TestClient]:
    """Yield a browser without token and cookie."""
    with TestClient(create_app(TOKEN), "http://127.0.0.1:4200", follow_redirects=False) as client:
        yield client


@pytest.fixture
def browser(stranger: TestClient) -> TestClient:
    """Return a browser that was let in."""
    assert stranger.get(f"/?token={TOKEN}").status_code == 303

    return stranger
