"""The examples of the reference page on state change hooks run with nothing but imports changed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

from eventflow.blocks import SlackWebhook, String
from eventflow.errors import BlockNotFoundError
from eventflow.testing import isolated
from tests.dashboard.browsing import CHROMIUM, DRIVER, Browser
from tests.examples.sandbox import API_URL, TIMEOUT_SECONDS, Sandbox


@pytest.mark.parametrize(
    ("script", "lines"),
    [
        ("page_success_hook.py", ["Flow run succeeded!"]),
        (
            "page_several_hooks.py",
            [
                "Task run succeeded!",
                "If the task run succeeds or fails, this hook runs.",
                "Task run failed!",
                "If the task run succeeds or fails, this hook runs.",
            ],
        ),
    ],
)
def test_an_example_prints_exactly_this(sandbox: Sandbox, script: str, lines: list[str]) -> None:
    """The example ends with 0, prints these lines, and logs only how its runs began and ended."""
    result = sandbox.run(script)

    assert result.status == 0, result.stderr
    assert result.stdout.splitlines() == lines
    assert result.unexpected() == []


def test_the_flow_hook_runs(sandbox: Sandbox) -> None:
    """The hook with an empty body prints nothing, but it is delivered, once."""
    result = sandbox.run("page_flow_hook.py")

    assert (result.status, result.stdout, result.unexpected()) == (0, "", [])
    outcomes = result.of_kind("eventflow.hook.HookSucceeded")
    assert [(outcome["hook"], outcome["state_name"]) for outcome in outcomes] == [
        ("__main__:my_flow_hook", "Completed")
    ]


def test_the_task_hook_runs(sandbox: Sandbox) -> None:
    """A failing task runs its hook, and its exception ends the script."""
    result = sandbox.run("page_task_hook.py")

    assert result.status == 1
    assert result.stderr.endswith("ValueError: oops!\n")
    outcomes = result.of_kind("eventflow.hook.HookSucceeded")
    assert [(outcome["hook"], outcome["state_name"]) for outcome in outcomes] == [
        ("__main__:my_task_hook", "Failed")
    ]


class Slack(BaseHTTPRequestHandler):
    """A webhook that records every message, and answers with the status that the test sets."""

    protocol_version = "HTTP/1.1"
    received: ClassVar[list[tuple[str, str, Any]]]
    answer: ClassVar[int]
    released: ClassVar[threading.Event]

    def do_POST(self) -> None:
        """Record a notification; status 0 stands for no answer at all."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append((self.path, self.headers["Content-Type"], json.loads(body)))
        if not self.answer:
            self.released.wait(TIMEOUT_SECONDS)
            self.close_connection = True
            return

        self.send_response(self.answer)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


@contextmanager
def slack(sandbox: Sandbox, answer: int, **fields: float) -> Iterator[list[tuple[str, str, Any]]]:
    """Serve Slack on loopback, with a block saved that points to it; yields what is received."""
    received: list[tuple[str, str, Any]] = []
    released = threading.Event()
    attributes = {"received": received, "answer": answer, "released": released}
    handler = type("BoundSlack", (Slack,), attributes)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with isolated(sandbox.home):
            url = f"http://127.0.0.1:{server.server_port}/services/T0/B0/token"
            SlackWebhook(url, **fields).save("my-slack-webhook")
        yield received
    finally:
        released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_slack_message_arrives_once_after_the_retry(sandbox: Sandbox) -> None:
    """The webhook receives the page's text, with the run's own name, link, tags and start."""
    with slack(sandbox, answer=200) as received:
        result = sandbox.run("page_notify_slack.py")

    assert result.status == 1
    assert result.stderr.endswith("ValueError: oops!\n")
    expected = ["Pending", "Running", "AwaitingRetry", "Retrying", "Failed"]
    assert result.states("flow") == expected

    pending = result.events[0]
    start = datetime.fromisoformat(pending["to_state"]["timestamp"])
    text = (
        f"Your job {pending['run_name']} entered Failed with message:\n\n"
        f"See <{API_URL}/flow-runs/flow-run/{pending['run_id']}|the flow run in the UI>\n\n"
        f"Tags: []\n\n"
        f"Scheduled start: {start}"
    )
    assert received == [("/services/T0/B0/token", "application/json", {"text": text})]
    assert len(result.of_kind("eventflow.hook.HookSucceeded")) == 1


@contextmanager
def served(sandbox: Sandbox, token: str) -> Iterator[tuple[str, str]]:
    """Serve the page on a free port; yields its address, and what else was said."""
    command = [sys.executable, "-m", "eventflow.cli", "serve", "--port", "0", "--token", token]
    environment = {**sandbox.environment, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().removeprefix("The page is at ").partition("/?")[0]
        yield address, server.stdout.readline()
        server.terminate()


def test_the_link_of_the_slack_message_opens_the_page_of_the_run(sandbox: Sandbox) -> None:
    """The link leads to the page, where the flow knows its port; the token lets a browser in."""
    del sandbox.environment["EVENTFLOW_API_URL"]
    token = "token-of-the-page"
    with served(sandbox, token) as (address, said), slack(sandbox, answer=200) as received:
        assert f"EVENTFLOW_API_URL={address}" in said
        sandbox.environment["EVENTFLOW_UI_PORT"] = address.rpartition(":")[2]
        result = sandbox.run("page_notify_slack.py")
        ((_, _, message),) = received
        found = re.search(r"<(\S+)\|the flow run in the UI>", message["text"])
        assert found is not None
        browser = build_opener(HTTPCookieProcessor())
        browser.open(f"{address}/?token={token}").close()
        with browser.open(found[1]) as answer:
            page = answer.read().decode()

    assert answer.status == 200
    assert result.events[0]["run_name"] in page
    assert "<strong>ValueError</strong>: oops!" in page
    assert "__main__:notify_slack" in page


@pytest.mark.xdist_group("browser")
@pytest.mark.skipif(
    not (CHROMIUM and DRIVER) and os.environ.get("CI") != "true",
    reason="there is no Chromium here, or no chromedriver",
)
def test_a_browser_that_was_let_in_follows_the_link(sandbox: Sandbox, tmp_path: Path) -> None:
    """From the message to the run: its name, what it raised and where."""
    del sandbox.environment["EVENTFLOW_API_URL"]
    token = "token-of-the-page"
    with served(sandbox, token) as (address, _), slack(sandbox, answer=200) as received:
        sandbox.environment["EVENTFLOW_UI_PORT"] = address.rpartition(":")[2]
        result = sandbox.run("page_notify_slack.py")
        ((_, _, message),) = received
        found = re.search(r"<(\S+)\|the flow run in the UI>", message["text"])
        assert found is not None
        browser = Browser(tmp_path / "profile")
        try:
            browser.driver.get(f"{address}/?token={token}")
            browser.driver.get(found[1])
            browser.shows(result.events[0]["run_name"], "h1")
            browser.shows("ValueError: oops!")
        finally:
            browser.close()


@pytest.mark.parametrize(
    ("answer", "fields", "reason"),
    [
        (500, {}, "it answered 500"),
        (0, {"timeout_seconds": 0.3}, "there was no answer within 0.3 s"),
    ],
    ids=["answers 500", "hangs"],
)
def test_a_slack_that_refuses_the_message_leaves_the_run_as_it_is(
    sandbox: Sandbox, answer: int, fields: dict[str, float], reason: str
) -> None:
    """The hook fails, in bounded time and visibly; the run ends as it does without the hook."""
    with slack(sandbox, answer, **fields) as received:
        result = sandbox.run("page_notify_slack.py")

    assert len(received) == 1
    assert result.status == 1
    assert result.stderr.endswith("ValueError: oops!\n")
    assert result.states("flow")[-1] == "Failed"
    (failed,) = result.of_kind("eventflow.hook.HookFailed")
    assert failed["error"]["type"].endswith("NotificationError")
    assert reason in failed["error"]["message"]
    assert "token" not in result.stderr + json.dumps(result.events)


def test_without_its_block_the_slack_hook_names_what_is_missing(sandbox: Sandbox) -> None:
    """The error of the hook names the block that was not saved, and the run fails as it should."""
    result = sandbox.run("page_notify_slack.py")

    assert result.status == 1
    assert result.stderr.endswith("ValueError: oops!\n")
    (failed,) = result.of_kind("eventflow.hook.HookFailed")
    assert "my-slack-webhook" in failed["error"]["message"]


def test_the_crash_hook_deletes_the_job_and_its_block(sandbox: Sandbox) -> None:
    """The async hook of a sync flow runs gcloud and the client, then SystemExit ends the script."""
    result = sandbox.run("page_delete_cloud_run_job.py")

    assert result.status == 1
    assert result.stderr.splitlines()[-1] == "Crashing on purpose!"
    assert result.states("task") == ["Pending", "Running", "Crashed"]
    assert result.states("flow") == ["Pending", "Running", "Crashed"]

    name = result.events[0]["run_name"]
    command = f"gcloud beta run jobs delete {name} --region us-central1"
    assert sandbox.gcloud_calls() == [command], result.stderr
    (outcome,) = result.of_kind("eventflow.hook.HookSucceeded")
    assert outcome["hook"] == "__main__:delete_cloud_run_job"
    assert outcome["state_name"] == "Crashed"
    with isolated(sandbox.home), pytest.raises(BlockNotFoundError):
        String.load("noisy-flow-cloud-run-job")
