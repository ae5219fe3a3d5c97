"""Which address shows which page, and what a change answers."""

from __future__ import annotations

from uuid import uuid4

from starlette.testclient import TestClient

from eventflow.dashboard.guard import CSRF_HEADER
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import DeliveryQuery
from tests.cli.sample_journal import Sample

HEADER = {CSRF_HEADER: "1"}


def test_the_page_of_a_run_has_its_name_its_error_and_its_hooks(
    browser: TestClient, sample: Sample
) -> None:
    answer = browser.get(f"/flow-runs/flow-run/{sample.failed}")
    assert answer.status_code == 200
    for text in ("brave-otter", "no such table", "alerts:page", "2026-01-31", "sly-fox"):
        assert text in answer.text


def test_the_page_of_a_task_run(browser: TestClient, sample: Sample) -> None:
    answer = browser.get(f"/task-runs/task-run/{sample.tasks[1]}")
    assert answer.status_code == 200
    assert "calm-bee" in answer.text
    assert "brave-otter" in answer.text


def test_what_is_not_there_is_not_found(browser: TestClient, sample: Sample) -> None:
    for path in (
        f"/flow-runs/flow-run/{uuid4()}",
        f"/task-runs/task-run/{sample.failed}",
        "/flow-runs/flow-run/x",
        "/nowhere",
        "/static/../app.py",
        "/static/nothing.js",
    ):
        assert browser.get(path).status_code == 404


def test_the_head_of_a_stream_has_an_end(browser: TestClient, sample: Sample) -> None:
    for path in ("/", "/deliveries", f"/flow-runs/flow-run/{sample.failed}"):
        answer = browser.head(f"/live{path}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")


def test_without_a_journal_every_page_says_so(browser: TestClient) -> None:
    assert "there is no journal" in browser.get("/").text
    assert browser.get("/deliveries").status_code == 200
    assert browser.get(f"/flow-runs/flow-run/{uuid4()}").status_code == 404


def test_cancelling_asks_the_owner(browser: TestClient, sample: Sample) -> None:
    path = f"/flow-runs/flow-run/{sample.running}/cancel"
    assert "Asked to end" in browser.post(path, headers=HEADER).text
    assert sample.journal.cancels("owner-1") == [sample.running]
    path = f"/flow-runs/flow-run/{sample.failed}/cancel"
    assert "nothing to cancel" in browser.post(path, headers=HEADER).text


def test_redriving_makes_dead_deliveries_pending(browser: TestClient, sample: Sample) -> None:
    query = DeliveryQuery(run_id=sample.failed, statuses=(DeliveryStatus.DEAD,))
    (dead,) = sample.journal.deliveries(query)
    said = browser.post("/deliveries/redrive", data={"id": str(dead.id)}, headers=HEADER).text
    assert "1 delivery is pending again" in said
    assert sample.journal.deliveries(query) == []
    said = browser.post("/deliveries/redrive", data={"id": "no id"}, headers=HEADER).text
    assert "no dead delivery" in said


def test_redriving_all_keeps_to_the_filter(browser: TestClient, sample: Sample) -> None:
    query = DeliveryQuery(run_id=sample.failed, statuses=(DeliveryStatus.DEAD,))
    for hook, left in (("other:*", 1), ("alerts:*", 0)):
        path = f"/deliveries/redrive?hook={hook}"
        browser.post(path, data={"all": "1"}, headers=HEADER)
        assert len(sample.journal.deliveries(query)) == left
