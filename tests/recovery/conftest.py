"""A journal for scripts that are killed, and what their hooks tell."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from eventflow.journal import open_journal
from eventflow.journal.contract import Journal
from tests.recovery.scripts import HEAD, ReadTold, RunKilled


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of a journal, for this process and its children, without guardians."""
    text = f"sqlite:///{tmp_path / 'journal.db'}"
    monkeypatch.setenv("EVENTFLOW_JOURNAL_URL", text)
    monkeypatch.setenv("EVENTFLOW_GUARDIAN", "false")
    return text


@pytest.fixture
def run_killed(tmp_path: Path, url: str) -> RunKilled:
    """Return a function that runs a script which does not live to its end."""

    def run(script: str, *, code: int = -signal.SIGKILL) -> None:
        (tmp_path / "script.py").write_text(HEAD + script)
        ended = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, check=False, timeout=60)
        assert ended.returncode == code, url

    return run


@pytest.fixture
def read_told(tmp_path: Path) -> ReadTold:
    """Return a function that reads what hooks have told."""

    def read() -> list[Any]:
        path = tmp_path / "told"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    return read


@pytest.fixture
def journal(url: str) -> Journal:
    """Return the journal of the scripts."""
    return open_journal(url)
