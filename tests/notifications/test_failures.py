"""A notifier that fails is loud, and says nothing of its URLs."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from eventflow import Hook, flow, notify
from eventflow.blocks import JSON, NotificationBlock
from eventflow.client import get_client
from eventflow.client.records import DeliveryRecord, FailingHook
from eventflow.testing import capture_events, flush
from tests.notifications.conftest import TOKEN, Receiver

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


def fail(*alerts: Any) -> None:
    """Run a flow that fails."""

    @flow(name="etl", on_failure=alerts)
    def etl() -> None:
        raise ValueError("bad row")

    with pytest.raises(ValueError, match="bad row"):
        etl()


def read() -> tuple[list[DeliveryRecord], list[FailingHook]]:
    async def main() -> tuple[list[DeliveryRecord], list[FailingHook]]:
        async with get_client() as client:
            return await client.read_deliveries(), await client.read_failing_hooks()

    return asyncio.run(main())


def test_a_service_that_refuses_is_a_dead_delivery(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """With what it answered; in the log, as an event, and as a hook that fails."""
    receiver.status = 500
    with capture_events() as events:
        fail(notify(receiver.url))
    (delivery,), (failing,) = read()
    assert delivery.status == "dead"
    assert "notify(json) was not accepted: json: 1 of 1 URLs: 1 (json) did not accept it: " in str(
        delivery.error
    )
    assert "error=500" in str(delivery.error)
    assert failing.hook == f"{__name__}:notify(json)"
    assert [event.type for event in events][-2:] == [
        *("eventflow.hook.HookFailed", "eventflow.hook.HookDeadLettered")
    ]
    assert any(
        record.levelno == logging.ERROR and "notify(json)" in record.message
        for record in caplog.records
    )


def test_a_service_that_hangs_takes_no_longer_than_allowed(receiver: Receiver) -> None:
    receiver.hangs = True
    fail(notify(receiver.url, timeout_seconds=0.2))
    (delivery,), _ = read()
    assert "there was no answer within 0.2 s" in str(delivery.error)


class Raising(NotificationBlock):
    """A block whose own code raises something with a secret in it."""

    def post(self, body: str, subject: str | None = None) -> None:
        """Raise an error."""
        raise OSError(f"https://{TOKEN}")


def test_one_that_fails_keeps_no_other_from_being_told(
    receiver: Receiver, other: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """The error names each that failed, and why."""
    JSON({"a": 1}).save("ops")
    Raising().save("ops")
    fail(
        notify(
            "env:NOT_SET",
            "json/ops",
            "raising/ops",
            "notify/missing",
            other.url,
            "nosuch://a",
            receiver.url,
        )
    )
    assert len(receiver.posts) == 1
    (delivery,), _ = read()
    told = str(delivery.error)
    assert "NOT_SET: the environment variable NOT_SET is not set; json/ops: the block" in told
    assert "raising/ops: failed with OSError; notify/missing: There is no block 'missing'" in told
    assert "A Connection error occurred" in told
    assert "(nosuch) is not a URL that apprise understands" in told
    assert TOKEN not in told + caplog.text


def test_no_secret_is_recorded_or_logged(
    receiver: Receiver, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in the journal nor in another file of the home, in clear or as a hash of the URL."""
    receiver.status = 500
    url = f"{receiver.url}?password=hunter3hunter3"
    with caplog.at_level(logging.DEBUG):
        fail(notify(url), Hook(notify(url), retries=1))
        flush()
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "journal.db" for path in files)
    content = b"".join(path.read_bytes() for path in files)
    assert b"eventflow.notifications.notifier:Notifier" in content
    assert TOKEN.encode() not in content
    assert b"hunter3" not in content
    assert TOKEN not in caplog.text
    assert "hunter3" not in caplog.text


def test_what_a_run_was_given_in_secret_is_not_sent(receiver: Receiver) -> None:
    @flow(on_failure=[notify(receiver.url)])
    def etl(password: str) -> None:
        raise ValueError(f"cannot log in as {password}, nor at https://me:hunter4@host/")

    with pytest.raises(ValueError, match="log in"):
        etl("hunter5")
    message = receiver.posts[0]["message"]
    assert "cannot log in as ********, nor at https://********@host/" in message


@pytest.mark.parametrize("template", [lambda told: 1, lambda told: told.nothing])
def test_a_template_that_fails_is_a_failed_hook(template: Any, receiver: Receiver) -> None:
    fail(notify(receiver.url, template=template))
    (delivery,), _ = read()
    assert delivery.status == "dead"
    assert receiver.posts == []


def test_a_retry_tells_only_those_that_were_not_told(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if others have accepted it at the first attempt."""
    monkeypatch.setenv("URL", receiver.url)
    attempts: list[int] = []

    def set_variable(*_: object) -> bool:
        attempts.append(len(receiver.posts))
        if len(attempts) > 1:
            monkeypatch.setenv("LATER", receiver.url)
        return True

    alert = notify("env:LATER", "env:URL", "env:URL", when=set_variable, per_minute=None)
    fail(Hook(alert, retries=1))
    assert attempts == [0, 2]
    assert len(receiver.posts) == 3
    (delivery,), _ = read()
    assert delivery.status == "delivered"


def test_what_is_too_long_is_cut(receiver: Receiver) -> None:
    """No service takes a text of any length; a URL may say otherwise."""
    fail(notify(receiver.url, template=lambda told: "x" * 100_000))
    (post,) = receiver.posts
    assert 1_000 < len(post["message"]) < 100_000
    fail(notify(f"{receiver.url}?overflow=split", template=lambda told: "y" * 100_000))
    assert sum(post["message"].count("y") for post in receiver.posts[1:]) == 100_000
