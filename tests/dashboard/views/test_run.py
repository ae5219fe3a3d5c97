"""The page of a run, of flows that were run here: error, story, hooks with reasons, logs, tree."""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from eventflow import (
    Event,
    StateType,
    TaskRun,
    bus,
    flow,
    get_run_logger,
    hook,
    runtime,
    task,
)
from eventflow.client.archive import Archive
from eventflow.dashboard.views import run as view
from eventflow.dashboard.views.filters import Address
from eventflow.journal import open_journal
from eventflow.journal.contract import RunQuery
from eventflow.settings import EVENTFLOW_JOURNAL_URL
from eventflow.testing import flush
from tests.cli.sample_journal import CRASHED, Sample, record_run

HOSTILE = "</pre><script>alert(1)</script>{{7*7}}\u202e"


def told(*_: object) -> None: ...


def fails(*_: object) -> None:
    raise RuntimeError(HOSTILE)


@task(on_completion=[told])
def step(value: str) -> str:
    get_run_logger().warning(value)
    return value


@flow(flow_run_name="run {value}", on_failure=[fails], on_completion=[told])
def etl(value: str, password: str = "hunter2") -> None:
    step(value)
    raise ValueError(value)


@pytest.fixture
def page(browser: TestClient, eventflow_isolated: object) -> str:
    """Run the flow with a hostile value, and open its page."""
    hook(run_type="task", state="Crashed", name="other*")(told)
    state = etl(HOSTILE, return_state=True)
    flush()
    run_id = state.state_details.flow_run_id
    assert isinstance(run_id, UUID)
    return browser.get(f"/flow-runs/flow-run/{run_id}").text


def panel(page: str, name: str) -> str:
    """Return a section of the page."""
    found = re.search(rf'<section class="panel" id="{name}".*?</section>', page, re.DOTALL)
    assert found is not None

    return found[0]


@pytest.mark.parametrize(("retries", "shown"), [(0, "1"), (2, "3 of 3")])
def test_it_says_which_attempt_of_how_many_was_the_last(
    browser: TestClient, eventflow_isolated: object, retries: int, shown: str
) -> None:
    """Also of a copy with other retries than its original has."""

    @task(retries=7)
    def fails_always() -> None:
        raise ValueError

    state = fails_always.with_options(retries=retries)(return_state=True)
    flush()
    run_id = state.state_details.task_run_id
    text = browser.get(f"/task-runs/task-run/{run_id}").text
    assert f"<dt>Attempt</dt><dd>{shown}</dd>" in text


def test_it_begins_with_what_failed(page: str) -> None:
    head = page.partition('class="tabs"')[0]
    assert "<strong>ValueError</strong>" in head
    assert f"{__file__}:" in head
    assert "in etl" in head


def test_hostile_text_stays_text(page: str) -> None:
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "49" not in panel(page, "parameters")


def test_secrets_are_masked(page: str) -> None:
    assert "hunter2" not in page


def test_its_hooks_have_their_outcome_and_their_error(page: str) -> None:
    hooks = panel(page, "hooks")
    assert "fails</b>" in hooks
    assert "RuntimeError" in hooks
    assert "eventflow deliveries redrive" in hooks


def test_why_a_hook_was_not_called(page: str) -> None:
    why = panel(page, "why")
    assert "state is Failed (FAILED), not COMPLETED" in why
    assert "run_type is &#39;flow&#39;, not &#39;task&#39;" in why
    assert "for all runs" in why


class Arrived(Event):
    """An event of a user's own."""


def heard(event: Event) -> None:
    """Listen."""


def test_why_a_listener_was_not_told(browser: TestClient) -> None:
    """Of the bus of its run, as it was then."""
    with (
        bus.subscribe(heard, state="Completed", run_type="flow"),
        bus.subscribe(heard, state=StateType.FAILED),
        bus.subscribe(heard, event_type=Arrived),
        bus.subscribe(heard, state="Running", lasting=60),
    ):
        state: Any = flow(name="listened")(lambda: 1)(return_state=True)
    flow(name="unheard")(lambda: 1)()
    flush()
    assert state.is_completed()
    journal = open_journal(EVENTFLOW_JOURNAL_URL.value())
    runs = {run.definition: run for run in journal.runs(RunQuery())}
    journal.close()
    why = panel(browser.get(f"/flow-runs/flow-run/{runs['listened'].id}").text, "why")
    assert why.count(f"{__name__}:heard") == 4
    assert "told of</span> Completed" in why
    assert "state is Completed (COMPLETED), not FAILED" in why
    assert "it listens for" in why
    assert "only once that has lasted 1 min 00 s" in why
    after = panel(browser.get(f"/flow-runs/flow-run/{runs['unheard'].id}").text, "why")
    assert "no listener" in after


def test_its_lines_are_shown_with_those_of_what_it_called(page: str) -> None:
    assert "WARNING" in panel(page, "logs")
    assert "eventflow logs" in panel(page, "logs")


def test_what_it_called_is_shown(page: str) -> None:
    assert "step" in panel(page, "tree")
    assert 'class="tl"' in page


def test_it_can_be_run_again(page: str) -> None:
    assert f"eventflow run {__name__}:etl" in page or ":etl --value" in page


def test_the_link_in_a_message_leads_to_it(browser: TestClient) -> None:
    """The one that the hook of a flow, or of a task, has from `runtime`."""
    links: list[str | None] = []

    def note(_: object, run: object, __: object) -> None:
        links.append(
            runtime.task_run.ui_url if isinstance(run, TaskRun) else runtime.flow_run.ui_url
        )

    linked = flow(name="linked", on_completion=[note])(
        task(name="below", on_completion=[note])(lambda: 1)
    )
    linked()
    flush()
    assert len(links) == 2
    for link, name in zip(links, ("below", "linked"), strict=True):
        assert link is not None
        answer = browser.get(urlsplit(link).path)
        assert (answer.status_code, name in answer.text) == (200, True)


def test_a_crash_says_who_was_found_dead(browser: TestClient, sample: Sample) -> None:
    crashed = record_run(sample.journal, CRASHED, run_type="flow", definition="etl")
    text = browser.get(f"/flow-runs/flow-run/{crashed}").text
    assert "after its last transition" in text
    assert "found dead" in text.casefold()


def test_a_page_is_shown_before_a_large_timeline_is_drawn(
    browser: TestClient, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stream has the timeline."""
    monkeypatch.setattr(view, "DRAWN_AT_ONCE", 1)
    path = f"/flow-runs/flow-run/{sample.failed}"
    text = browser.get(path).text
    assert "The timeline of more than 1 runs is being drawn" in text
    assert 'class="tl"' not in text
    address = Address(path)
    page = view.run_page(Archive(sample.journal), address, "flow", sample.failed, may_wait=True)
    assert 'class="tl"' in page.values["timeline"]


def test_a_group_of_the_timeline_has_a_link_that_opens_it(browser: TestClient) -> None:
    """And one that closes it; what is no group of this run is ignored."""

    @task(name="item")
    def item(number: int) -> int:
        return number

    @flow(name="mapped")
    def mapped() -> None:
        for number in range(20):
            item(number)

    mapped()
    flush()
    (address,) = set(re.findall(r'href="(/flow-runs/flow-run/[^"]+)"', browser.get("/").text))
    closed = browser.get(f"{address}?open=nothing").text
    (link,) = re.findall(r'class="tl-link" href="([^"]+open=g[^"]+)" aria-expanded="false"', closed)
    assert closed.count('<li id="tl-') == 2
    opened = browser.get(unescape(link).partition("#")[0]).text
    assert opened.count('<li id="tl-') == 2 + 20
    key = link.partition("#")[2]
    assert f'<li id="{key}" class="tl-row tl-group">' in opened
    (close,) = re.findall(r'class="tl-link" href="([^"]+)" aria-expanded="true"', opened)
    assert f"open={key.removeprefix('tl-')}" not in close.partition("#")[0]


def test_of_a_very_large_run_what_is_not_read_is_counted(
    browser: TestClient, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/flow-runs/flow-run/{sample.failed}"
    whole = browser.get(path).text
    monkeypatch.setattr(view, "READ", 1)
    text = browser.get(path).text
    (summary,) = re.findall('<p class="tl-summary">([^<]+)', text)
    assert [summary] == re.findall('<p class="tl-summary">([^<]+)', whole)
    assert " more</span>" in text
    assert "more runs of" in text
