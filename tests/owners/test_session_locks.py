"""On a file system without locks the runs go on, and that is said once."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from eventflow import task
from eventflow.errors import JournalError
from eventflow.owners import locks
from eventflow.owners.folders import owners_folder
from eventflow.recovery.supervisor import recover
from eventflow.settings import EVENTFLOW_JOURNAL_URL
from eventflow.testing import isolated
from eventflow.wiring import recorder


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every lock fail as on a network file system without a lock daemon."""

    def refuse(_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks, "_try_lock", refuse)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_runs_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With their hooks; what is not guaranteed is said, and no one waits for SQLite's lock."""
    called: list[str] = []

    @task(on_completion=[lambda _, run, state: called.append(state.name)])
    def work() -> int:
        return 1

    with isolated(tmp_path / "home"):
        assert [work(), work()] == [1, 1]
        own = recorder()
        assert own is not None
        assert own.journal.in_hurry
        assert not own.sink.writer.waits
        root = owners_folder(EVENTFLOW_JOURNAL_URL.value())
        assert root is not None
        assert list(root.iterdir()) == []
        with pytest.raises(JournalError, match="cannot be locked"):
            recover(EVENTFLOW_JOURNAL_URL.value())

    assert called == ["Completed"] * 2
    (warning,) = (record.getMessage() for record in caplog.records)
    assert "No locks available" in warning
    assert "the hooks it owes will not be run" in warning
    assert "nothing is recorded either" in warning
