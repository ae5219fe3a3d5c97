"""Every dead owner is recovered by a process of its own, and what goes wrong is reported."""

from __future__ import annotations

import pytest

from eventflow.recovery.supervisor import recover
from tests.recovery.scripts import RunKilled, owner_folders


def test_a_recovery_that_cannot_be_started_is_reported(
    run_killed: RunKilled, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner stays as it is, to be recovered later."""
    run_killed("@flow\ndef etl(): die()\netl()\n")
    monkeypatch.setattr("eventflow.recovery.supervisor.recovery_command", lambda *_: ["/not/there"])

    (report,) = recover(url)

    assert "cannot be started" in (report.problem or "")
    assert len(owner_folders(url)) == 1
