"""Notifications reach the service or fail with a reason, and never show a secret."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from anyio import to_thread
from pydantic import SecretStr, ValidationError

from eventflow.blocks import Block, NotificationBlock, Notify, SlackWebhook
from eventflow.blocks.core import Block as CoreBlock
from eventflow.errors import MissingExtraError, NotificationError
from tests.blocks.conftest import PATH, Slack

# apprise imports imghdr where Python still has it.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

SECRETS = ("hunter2hunter2", "T000/B000")


class Custom(NotificationBlock):
    """A user's own notification block."""

    callback: Any = None

    def post(self, body: str, subject: str | None = None) -> None:
        """Call back with the message and the thread."""
        self.callback(body, subject, threading.current_thread())


def by_json(slack: Slack, path: str = PATH) -> str:
    """Return the apprise URL of the server."""
    return slack.url.replace("http://", "json://").replace(PATH, path)


def test_slack_is_posted_the_text(slack: Slack) -> None:
    """In the webhook's format; a subject is a line above, in bold."""
    SlackWebhook(slack.url).notify("hello")
    SlackWebhook(url=SecretStr(slack.url)).notify("hello", subject="Flow failed")
    assert slack.posts == [{"text": "hello"}, {"text": "*Flow failed*\nhello"}]


def test_a_saved_webhook_notifies(slack: Slack) -> None:
    """As in the example of the reference page."""
    SlackWebhook(slack.url).save("my-slack-webhook")
    block = CoreBlock.load("slack-webhook/my-slack-webhook")
    assert isinstance(block, SlackWebhook)
    block.notify("hello")
    assert slack.posts == [{"text": "hello"}]


@pytest.mark.parametrize("status", [302, 404, 500])
def test_any_answer_but_2xx_is_an_error(slack: Slack, status: int) -> None:
    """With the status and the beginning of the body, in which the path is masked."""
    slack.status, slack.body = status, f"no_service  at {PATH}\n".encode() + b"x" * 50_000
    with pytest.raises(
        NotificationError, match=rf"SlackWebhook.*answered {status} .*no_service at"
    ) as caught:
        SlackWebhook(slack.url).notify("hello")

    assert len(str(caught.value)) < 400
    assert not any(secret in str(caught.value) for secret in SECRETS)


def test_an_error_without_a_body_is_told_as_well(slack: Slack) -> None:
    """The status is enough."""
    slack.status, slack.body = 500, b""
    with pytest.raises(NotificationError, match="answered 500 Internal Server Error"):
        SlackWebhook(slack.url).notify("hello")


@pytest.mark.parametrize("manner", ["hang", "drip"])
def test_the_timeout_bounds_the_whole(slack: Slack, manner: str) -> None:
    """Whether the server sends nothing, or a byte at a time for ever."""
    slack.manner = manner
    started = time.monotonic()
    with pytest.raises(NotificationError, match=r"no answer within 0\.3 s"):
        SlackWebhook(slack.url, timeout_seconds=0.3).notify("hello")

    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://127.0.0.1:bad", "http://", "http://a\x00b"]
)
def test_a_server_that_cannot_be_reached_is_an_error(url: str) -> None:
    """Nothing listens there, or the URL is malformed."""
    with pytest.raises(NotificationError) as caught:
        SlackWebhook(url + PATH).notify("hello")

    assert not any(secret in str(caught.value) for secret in SECRETS)


def test_a_url_must_be_of_the_web() -> None:
    """When the block is made, and without quoting it."""
    with pytest.raises(ValidationError, match="must be an http") as caught:
        SlackWebhook("ftp://hunter2hunter2")

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("seconds", [0, -1, float("inf")])
def test_the_timeout_is_a_positive_number(seconds: float) -> None:
    """Nothing waits for ever."""
    with pytest.raises(ValidationError, match="timeout_seconds"):
        SlackWebhook("http://x", timeout_seconds=seconds)


def test_the_secret_url_is_in_no_log(slack: Slack, caplog: pytest.LogCaptureFixture) -> None:
    """httpx, urllib3 and apprise would log it; records of other loggers still appear."""
    caplog.set_level(logging.DEBUG)
    SlackWebhook(slack.url).notify("hello")
    Notify([by_json(slack)]).notify("hello")
    logging.getLogger("httpx").info("another logger")
    assert "another logger" in caplog.text
    assert not any(secret in caplog.text for secret in SECRETS)
    assert len(slack.posts) == 2


def test_async_code_awaits_a_notification_without_blocking_the_loop(slack: Slack) -> None:
    """The loop goes on while the server hangs."""
    slack.manner = "hang"

    async def main() -> None:
        sending = SlackWebhook(slack.url).notify("hello")
        await asyncio.to_thread(slack.posted.wait, 5)
        slack.done.set()
        with pytest.raises(NotificationError, match="RemoteProtocolError"):
            await sending

        slack.manner = "plain"
        await SlackWebhook(slack.url).notify("again")
        await SlackWebhook(slack.url).anotify("outright", subject="s")

    asyncio.run(main())
    assert [post["text"] for post in slack.posts] == ["hello", "again", "*s*\noutright"]


def test_a_worker_thread_of_async_code_is_sync_code(slack: Slack) -> None:
    """A sync hook of an async flow has sent when `notify` returns."""

    async def main() -> None:
        await to_thread.run_sync(SlackWebhook(slack.url).notify, "hello")
        assert slack.posts == [{"text": "hello"}]

    asyncio.run(main())


def test_a_forgotten_await_still_sends(slack: Slack) -> None:
    """The sending starts with the call."""

    async def main() -> None:
        SlackWebhook(slack.url).notify("hello")
        await asyncio.to_thread(slack.posted.wait, 5)

    asyncio.run(main())
    assert slack.posts == [{"text": "hello"}]


def test_a_process_that_ends_at_once_still_sends(
    slack: Slack, together: Callable[[str, int], list[str]]
) -> None:
    """The interpreter waits for notifications that are being sent."""
    # By name: a resolver in a thread pool would no longer run by then.
    url = slack.url.replace("127.0.0.1", "localhost")
    together(
        "import asyncio\n"
        f"async def main(): SlackWebhook({url!r}).notify('bye')\n"
        "asyncio.run(main())",
        1,
    )
    assert slack.posts == [{"text": "bye"}]


def test_a_failure_that_nobody_awaits_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Without the message of a third party's error, which may hold a secret."""
    logged = threading.Event()

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name == "eventflow.blocks":
                logged.set()

    def fail(*_: object) -> None:
        raise ValueError("hush")

    async def main(block: NotificationBlock) -> None:
        block.notify("hello")
        assert await asyncio.to_thread(logged.wait, 5)

    watch = Watch()
    # After the handler of caplog: once the event is set, the record is in caplog.
    logging.getLogger().addHandler(watch)
    try:
        asyncio.run(main(Custom(callback=fail)))
        logged.clear()
        asyncio.run(main(SlackWebhook("http://127.0.0.1:1/")))

    finally:
        logging.getLogger().removeHandler(watch)

    assert "Custom failed: ValueError" in caplog.text
    assert "SlackWebhook failed: The notification" in caplog.text
    assert "hush" not in caplog.text


def test_a_users_own_block_notifies_in_a_thread_of_its_own() -> None:
    """It implements `post`, and `notify` raises its errors unchanged."""
    calls: list[tuple[str, str | None, threading.Thread]] = []
    Custom(callback=lambda *call: calls.append(call)).notify("body", "subject")
    ((body, subject, thread),) = calls
    assert (body, subject) == ("body", "subject")
    assert thread is not threading.current_thread()

    def fail(*_: object) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        Custom(callback=fail).notify("body")


def test_a_block_that_never_ends_is_waited_for_no_longer_than_its_timeout() -> None:
    """Even if `post` hangs."""
    end = threading.Event()
    with pytest.raises(NotificationError, match=r"Custom.*no answer within 0\.05 s"):
        Custom(callback=lambda *_: end.wait(), timeout_seconds=0.05).notify("body")

    end.set()


def test_a_base_that_cannot_notify_is_no_type_of_block() -> None:
    """NotificationBlock itself cannot be made."""
    with pytest.raises(TypeError, match="abstract"):
        NotificationBlock()  # type: ignore[abstract]


def test_notify_reaches_every_service(slack: Slack) -> None:
    """Saved with its URLs encrypted, loaded, and sent through apprise."""
    Notify(urls=[by_json(slack, "/one"), by_json(slack, "/two")]).save("people")
    block = Block.load("notify/people")
    assert isinstance(block, Notify)
    assert "127.0.0.1" not in repr(block)
    block.notify("hello", subject="Flow failed")
    assert [(post["title"], post["message"]) for post in slack.posts] == [
        ("Flow failed", "hello")
    ] * 2


def test_notify_tells_which_services_failed(slack: Slack) -> None:
    """By position and scheme, never by URL; the others are notified nevertheless."""
    urls = ["json://127.0.0.1:1/hunter2", "nosuch://hunter2", "hunter2", by_json(slack, "/one")]
    with pytest.raises(NotificationError) as caught:
        Notify(urls).notify("hello")

    message = str(caught.value)
    assert "3 of 4 URLs: 1 (json) did not accept it: A Connection error" in message
    assert "; 2 (nosuch) is not a URL" in message
    assert "3 (no scheme) is not a URL that apprise understands" in message
    assert "hunter2" not in message
    assert len(slack.posts) == 1


def test_a_plugin_that_raises_is_told_without_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plugins put URLs into the messages of their errors."""
    import apprise

    def fail(*_: object, **__: object) -> bool:
        raise ValueError("hunter2")

    monkeypatch.setattr(apprise.Apprise, "notify", fail)
    with pytest.raises(NotificationError, match=r"1 \(json\) failed with ValueError") as caught:
        Notify(["json://127.0.0.1/"]).notify("hello")

    assert "hunter2" not in str(caught.value)


def test_notify_needs_a_list_with_something_in_it() -> None:
    """An empty list would notify nobody."""
    with pytest.raises(ValidationError, match="urls"):
        Notify([])


def test_a_missing_package_is_an_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """httpx for Slack, apprise for the others."""
    monkeypatch.setitem(sys.modules, "httpx", None)
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(MissingExtraError, match=r"'httpx'.*eventflow-runtime\[blocks\]"):
        SlackWebhook("http://127.0.0.1/").notify("hello")

    with pytest.raises(MissingExtraError, match=r"'apprise'.*eventflow-runtime\[notifications\]"):
        Notify(["json://127.0.0.1/"]).notify("hello")


def test_the_end_of_the_interpreter_sends_as_well(
    slack: Slack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No thread can be started there: it is sent by the one that is there."""

    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        # The server of this test has threads of its own.
        if "process_request" in thread.name:
            start(thread)
        else:
            raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    Notify([by_json(slack)]).notify("hello")
    monkeypatch.undo()
    assert [post["message"] for post in slack.posts] == ["hello"]


def test_notify_has_a_kind_and_a_format(slack: Slack) -> None:
    """A text is escaped for a service of markup, and passed on without a format."""
    url = f"{by_json(slack)}?format=html"
    Notify([url], kind="failure", format="text").notify("<b>")
    Notify([url]).notify("<b>")
    assert [(post["type"], post["message"]) for post in slack.posts] == [
        ("failure", "&lt;b&gt;"),
        ("info", "<b>"),
    ]
    with pytest.raises(ValidationError, match="kind"):
        Notify([url], kind="loud")
