"""A notifier is a hook: of every kind, sync and async, and for failures by default."""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from eventflow import Hook, StateType, flow, hook, notify, task
from eventflow.blocks import Notify, Secret, SlackWebhook, String
from eventflow.errors import MissingExtraError
from eventflow.hooks.importability import import_problem
from eventflow.notifications import Notification, Notifier
from eventflow.testing import isolated
from tests.notifications.conftest import TOKEN, Receiver

# apprise imports imghdr where Python still has it.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


def fail(*_: object) -> None:
    raise ValueError("bad row")


async def afail(*_: object) -> None:
    raise ValueError("bad row")


async def items() -> Any:
    yield 1
    raise ValueError("bad row")


def run(definition: Any) -> None:
    """Run a flow or a task that fails, sync or async, or a generator, to its end."""

    async def consume() -> None:
        if definition.fn is items:
            async for _ in definition():
                pass
        else:
            await definition()

    with pytest.raises(ValueError, match="bad row"):
        asyncio.run(consume()) if definition.isasync else definition()


@pytest.mark.parametrize("body", [fail, afail, items])
@pytest.mark.parametrize("kind", [flow, task])
@pytest.mark.parametrize("durability", ["process", "off"])
def test_a_failure_is_told_of(
    kind: Any, body: Any, durability: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a flow and a task, sync and async, and with the journal on and off."""
    monkeypatch.setenv("EVENTFLOW_DURABILITY", durability)
    with isolated():
        run(kind(on_failure=[notify(receiver.url)], name="etl")(body))
    (post,) = receiver.posts
    assert post["type"] == "failure"
    assert post["title"].startswith(f"{kind.__name__.capitalize()} etl")
    assert post["title"].endswith(": Failed")
    assert "ValueError: bad row\nat " in post["message"]


def test_submitted_and_mapped_tasks_tell(receiver: Receiver) -> None:
    failing = task(on_failure=[notify(receiver.url)], name="work")(fail)

    @flow
    def etl() -> None:
        failing.submit().wait()
        failing.map([1, 2]).wait()

    etl()
    assert len(receiver.posts) == 3


def test_a_flow_within_a_running_loop_waits_for_it(receiver: Receiver) -> None:
    """A sync hook is called in the thread of the loop then, and has sent when the flow ends."""

    async def main() -> None:
        with pytest.raises(ValueError, match="bad row"):
            flow(on_failure=[notify(receiver.url)])(fail)()
        assert len(receiver.posts) == 1

    asyncio.run(main())


def test_every_kind_of_hook_may_notify(receiver: Receiver) -> None:
    """The title says what happened, and the type how bad it is."""
    alert = notify(receiver.url)

    @flow(name="etl", on_running=[alert], on_end=[alert], on_crashed=[alert])
    def etl(how: str) -> None:
        if how == "exit":
            raise SystemExit

    etl("well")
    with pytest.raises(SystemExit):
        etl("exit")
    told = [
        (title.rpartition(": ")[2], post["type"])
        for title, post in zip(receiver.titles, receiver.posts, strict=True)
    ]
    assert told == [
        ("Running", "info"),
        ("Completed", "success"),
        ("Running", "info"),
        ("Crashed", "failure"),
        ("Crashed", "failure"),
    ]


def test_an_overdue_run_is_told_of(receiver: Receiver) -> None:
    @flow(name="etl", on_overdue=[notify(receiver.url)], overdue_seconds=0.01)
    def etl() -> None:
        assert receiver.posted.acquire(timeout=30)

    etl()
    (post,) = receiver.posts
    assert post["title"].endswith(": is overdue after 10 ms")
    assert post["type"] == "warning"


def test_it_is_for_failures_where_no_state_is_named(receiver: Receiver) -> None:
    """A run that will be retried is in none of the states; a hook that names one has that."""
    alert = notify(receiver.url)
    assert Hook(alert).state == (StateType.FAILED, StateType.CRASHED)
    assert Hook(alert, state="Late").state == "Late"
    with isolated():
        hook(run_type="task")(alert)
        failing = task(name="work", retries=2)(fail)
        with pytest.raises(ValueError, match="bad row"):
            failing()
        task(lambda: 1)()
    (post,) = receiver.posts
    assert "attempt 3 of 3" in post["message"]


def test_each_retry_is_told_of_where_that_is_asked_for(receiver: Receiver) -> None:
    failing = task(name="work", retries=1)(fail)
    failing.on("AwaitingRetry")(notify(receiver.url))
    with pytest.raises(ValueError, match="bad row"):
        failing()
    (post,) = receiver.posts
    assert post["title"].endswith("AwaitingRetry")
    assert "attempt 1 of 2" in post["message"]


def only_prod(definition: Any, run: Any, state: Any) -> bool:
    return "prod" in run.tags and state.name == "Failed" and definition.name == "etl"


@pytest.mark.parametrize(
    "when",
    [
        only_prod,
        {"tags": "prod"},
        {"tags": ["prod"], "state": "Failed", "name": "e*", "run_type": "flow"},
        {"state": [StateType.FAILED, "Late"], "tags": {"prod"}},
    ],
)
def test_when_selects(when: Any, receiver: Receiver) -> None:
    with isolated():
        hook()(notify(receiver.url, when=when))
        run(flow(name="etl")(fail))
        assert receiver.posts == []
        run(flow(name="etl", tags=["prod"])(fail))
    assert len(receiver.posts) == 1


def test_a_template_says_what_is_told(receiver: Receiver) -> None:
    template = "{name} {state_name} {attempt}/{attempts} [{tags}]: {error}"
    run(
        flow(name="etl", tags=["b", "a"], on_failure=[notify(receiver.url, template=template)])(
            fail
        )
    )
    assert receiver.posts[0]["message"] == "etl Failed 1/1 [a, b]: ValueError: bad row"


def test_a_template_may_be_a_function(receiver: Receiver) -> None:
    def made(told: Notification) -> str:
        return f"{told.definition.name} {told.run.name == told.run_name} {told.state.type}"

    run(flow(name="etl", on_failure=[notify(receiver.url, template=made)])(fail))
    assert receiver.posts[0]["message"] == "etl True FAILED"


def test_a_failing_hook_is_tried_again(receiver: Receiver) -> None:
    """As every hook that declares retries."""
    receiver.status = 500

    def recover(*_: object) -> bool:
        receiver.status = 500 if not receiver.posts else 200
        return True

    run(flow(on_failure=[Hook(notify(receiver.url, when=recover), retries=1)])(fail))
    assert len(receiver.posts) == 2


@pytest.mark.parametrize(
    ("save", "name"),
    [
        (lambda url: Notify([url]).save("ops"), "notify/ops"),
        (lambda url: Secret(url).save("ops"), "secret/ops"),
        (lambda url: String(url).save("ops"), "string/ops"),
    ],
)
def test_a_block_has_the_url(save: Callable[[str], Any], name: str, receiver: Receiver) -> None:
    save(receiver.url)
    run(flow(on_failure=[notify(name)])(fail))
    assert receiver.posts[0]["type"] == "failure"


def test_a_saved_webhook_gets_no_markup(receiver: Receiver) -> None:
    """A message that mentions a channel is only text there."""
    SlackWebhook(receiver.webhook).save("ops")

    @flow(on_failure=[notify("slack-webhook/ops")])
    def etl() -> None:
        raise ValueError("<!channel> & all")

    with pytest.raises(ValueError, match="channel"):
        etl()
    assert "ValueError: &lt;!channel&gt; &amp; all" in receiver.posts[0]["text"]


def test_a_variable_has_the_url(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read when something is sent; it may hold several."""
    failing = flow(on_failure=[notify("env:OPS_URLS")])(fail)
    monkeypatch.setenv("OPS_URLS", f"{receiver.url}\n{receiver.url}")
    run(failing)
    assert len(receiver.posts) == 2


def test_text_is_escaped_for_a_channel_of_html(receiver: Receiver) -> None:
    @task(name="<b>etl", on_failure=[notify(f"{receiver.url}?format=html")])
    def etl() -> None:
        raise ValueError("<script>\x1b[2J")

    with pytest.raises(ValueError, match="script"):
        etl()
    message = receiver.posts[0]["message"]
    assert "&lt;script&gt;\\x1b[2J" in message.replace("&nbsp;", " ")
    assert "<script>" not in message


@pytest.mark.parametrize(
    ("urls", "options", "error", "message"),
    [
        ((), {}, TypeError, "at least one URL"),
        ((1,), {}, TypeError, "must be a string, but is of type int"),
        (("hunter2",), {}, ValueError, "must be a URL that apprise understands"),
        (("slack://a b/hunter2",), {}, ValueError, "must be a URL that apprise understands"),
        (("env:1",), {}, ValueError, "must be a URL that apprise understands"),
        (
            ("json://a",),
            {"template": "{nme} {error}"},
            ValueError,
            "names {nme}, but there is only",
        ),
        (("json://a",), {"template": "{error.__class__}"}, ValueError, "but there is only"),
        (("json://a",), {"template": 1}, TypeError, "template must be a string or a function"),
        (("json://a",), {"when": 1}, TypeError, "when must be a function or a mapping"),
        (("json://a",), {"when": {"nme": "a"}}, TypeError, "there is no nme"),
        (("json://a",), {"when": {"run_type": "job"}}, ValueError, "must be 'flow' or 'task'"),
        (("json://a",), {"group_seconds": -1}, ValueError, "group_seconds must be longer than 0"),
        (("json://a",), {"group_seconds": 0}, ValueError, "group_seconds must be longer than 0"),
        (("json://a",), {"per_minute": 0}, ValueError, "per_minute must be at least 1"),
        (("json://a",), {"per_minute": "2"}, TypeError, "per_minute must be a whole number"),
        (("json://a",), {"timeout_seconds": 0}, ValueError, "timeout_seconds must be longer"),
    ],
)
def test_what_is_wrong_is_refused(urls: Any, options: Any, error: Any, message: str) -> None:
    """Where it is declared; what may hold a secret is not shown."""
    with pytest.raises(error, match=message) as caught:
        notify(*urls, **options)
    assert "hunter2" not in str(caught.value)


def test_without_the_extra_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(
        MissingExtraError, match=r"pip install 'eventflow-runtime\[notifications\]'"
    ):
        notify("slack://a/b/c")


def test_two_threads_may_tell_at_once(receiver: Receiver) -> None:
    failing = flow(on_failure=[notify(receiver.url)])(fail)
    meet = threading.Barrier(4)

    def go() -> None:
        meet.wait(30)
        run(failing)

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(receiver.posts) == 4


def test_what_shows_it_shows_no_secret(receiver: Receiver) -> None:
    alert = notify(receiver.url, "env:OPS_URL", "notify/ops")
    assert isinstance(alert, Notifier)
    assert repr(alert) == "<notify(json, OPS_URL, notify/ops)>"
    assert Hook(alert).id == f"{__name__}:notify(json, OPS_URL, notify/ops)"


def test_one_whose_url_cannot_be_encrypted_notifies_all_the_same(
    receiver: Receiver, folder: Path
) -> None:
    """It is handed to the guardian by value, which is said."""
    folder.mkdir()
    (folder / "secret.key").write_bytes(b"nonsense")
    alert = notify(receiver.url)
    assert "has a URL that cannot be encrypted: The key in " in str(import_problem(Hook(alert)))
    run(flow(on_failure=[alert])(fail))
    assert len(receiver.posts) == 1


def told_of(told: Notification) -> str:
    return told.title


@pytest.mark.parametrize("when", [None, only_prod, {"state": [StateType.FAILED, "Late"]}])
@pytest.mark.parametrize("template", [None, "{error}", told_of])
def test_it_is_made_again_as_it_was(when: Any, template: Any, receiver: Receiver) -> None:
    """From plain data, in which no URL is in clear; and packed for the guardian."""
    alert = notify(
        receiver.url, "env:OPS", template=template, when=when, group_seconds=5, per_minute=None
    )
    text = json.dumps(alert.configuration())
    assert TOKEN not in text
    module = sys.modules[__name__]
    made = Notifier.restored(
        json.loads(text), lambda reference: getattr(module, reference.rpartition(":")[2])
    )
    for other in (made, pickle.loads(pickle.dumps(alert))):
        assert other.configuration() | {"targets": []} == alert.configuration() | {"targets": []}
        assert Hook(other).id == Hook(alert).id
        assert [target.text for target in other._targets] == [
            SecretStr(receiver.url),
            SecretStr("env:OPS"),
        ]
