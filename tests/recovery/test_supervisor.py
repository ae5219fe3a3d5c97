"""Every dead owner is recovered by a process of its own, and what goes wrong is reported."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from eventflow.recovery.supervisor import recover
from tests.recovery.scripts import RunKilled, owner_folders


def test_a_recovery_that_cannot_be_started_is_reported(
    run_killed: RunKilled, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner stays as it is, to be recovered later."""
    run_killed("@flow\ndef etl(): die()\netl()\n")

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("too many processes")

    monkeypatch.setattr(subprocess, "Popen", refuse)

    (report,) = recover(url)

    assert report.problem == "its recovery cannot be started: too many processes"
    assert len(owner_folders(url)) == 1
