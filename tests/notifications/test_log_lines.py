"""The last lines of a run's log are in a notification, where the client reads them."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from eventflow import flow, notify
from eventflow.client import Client
from eventflow.notifications import log_lines
from tests.notifications.conftest import Receiver

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

AT = datetime(2026, 3, 1, 12, 30, 5, tzinfo=UTC)


def fail(receiver: Receiver) -> str:
    @flow(on_failure=[notify(receiver.url)])
    def etl(password: str) -> None:
        raise ValueError("bad row")

    with pytest.raises(ValueError, match="bad row"):
        etl("hunter5")
    message: str = receiver.posts[0]["message"]

    return message


def test_they_follow_what_happened(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last ten of what people read, one to a line, with secrets masked."""
    asked = []

    async def read_logs(self: Client, run_id: UUID, **options: Any) -> list[Any]:
        asked.append(options)
        texts = ["load\nrows", "password is hunter5", "x" * 999]
        return [SimpleNamespace(timestamp=AT, level_name="INFO", message=text) for text in texts]

    monkeypatch.setattr(Client, "read_logs", read_logs, raising=False)
    message = fail(receiver)
    _, _, log = message.partition("\n\nThe last lines of its log:\n")
    clock = f"{AT.astimezone():%H:%M:%S}"
    assert log.splitlines() == [
        f"{clock} INFO load rows",
        f"{clock} INFO password is ********",
        f"{clock} INFO {'x' * 300}…",
    ]
    assert asked == [{"level": logging.INFO, "limit": 10}]


def test_without_them_it_is_told_all_the_same(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the journal cannot be read, or not in time."""
    never = threading.Event()

    async def read_logs(self: Client, run_id: UUID, **options: Any) -> list[Any]:
        never.wait(60)
        return []

    monkeypatch.setattr(log_lines, "_SECONDS", 0.01)
    monkeypatch.setattr(Client, "read_logs", read_logs, raising=False)
    assert "The last lines" not in fail(receiver)
    assert "cannot be read for a notification: TimeoutError" in caplog.text
    never.set()
