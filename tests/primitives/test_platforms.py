"""What is missing on a platform is said in one line."""

from __future__ import annotations

import logging
import sys

import pytest

from eventflow.primitives.platforms import missing_on


def test_windows_has_no_guardian() -> None:
    """Whoever relies on hooks there has to know; elsewhere nothing is said."""
    assert "no guardian" in (missing_on("win32") or "")
    assert "\n" not in (missing_on("win32") or "")
    assert missing_on("linux") is missing_on("darwin") is None


def test_it_is_said_at_import(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, as a warning of the package's logger."""
    import eventflow

    monkeypatch.setattr(sys, "platform", "win32")
    eventflow._tell_what_is_missing()
    assert [record.name for record in caplog.records] == ["eventflow"]
    assert caplog.records[0].levelno == logging.WARNING
