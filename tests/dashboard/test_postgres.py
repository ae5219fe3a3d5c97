"""Every view shows a journal in PostgreSQL as it shows one in a file."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from eventflow.dashboard.guard import CSRF_HEADER
from eventflow.dashboard.live import Feed
from tests.cli.sample_journal import COMPLETED, Sample, record_run
from tests.dashboard.test_live import listed, reading, told
from tests.dashboard.views.test_runs import shown


@pytest.fixture(autouse=True)
def server(home: object, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a journal on a server in force, before it is filled."""
    monkeypatch.setenv("EVENTFLOW_JOURNAL_URL", postgres_url)


def test_runs_are_filtered(browser: TestClient, sample: Sample) -> None:
    failed, running = sample.failed, sample.running
    everything = [running, failed, sample.old]
    assert shown(browser, "/") == everything
    assert shown(browser, "/?order=failed") == [failed, running, sample.old]
    assert shown(browser, "/?state=failed&state=running") == [running, failed]
    assert shown(browser, "/?flow=et*&tag=prod") == [failed]
    assert shown(browser, "/?text=BRAVE") == shown(browser, "/?text=no+such+table") == [failed]
    assert set(shown(browser, f"/?parent={failed}")) == set(sample.tasks)
    assert set(shown(browser, "/?type=task")) == set(sample.tasks)
    assert shown(browser, f"/?before={failed}&since=2020-01-01&until=2100-01-01") == [sample.old]
    assert "Failed <b>1</b>" in browser.get("/").text


@pytest.mark.parametrize("kind", ["flow", "task"])
def test_a_run_is_shown(browser: TestClient, sample: Sample, kind: str) -> None:
    run = sample.failed if kind == "flow" else sample.tasks[1]
    text = browser.get(f"/{kind}-runs/{kind}-run/{run}").text
    name = "brave-otter" if kind == "flow" else "calm-bee"
    assert all(each in text for each in (name, "no such table", "AwaitingRetry"))
    assert ("<svg" in text) is (kind == "flow")
    assert ("alerts:page" in text) is (kind == "flow")
    assert browser.get(f"/{kind}-runs/{kind}-run/{sample.old.int + 1:032x}").status_code == 404


def test_deliveries_are_shown_and_redriven(browser: TestClient, sample: Sample) -> None:
    text = browser.get("/deliveries").text
    assert "alerts:page" in text
    assert "ValueError" in text
    assert "alerts:begun" in browser.get("/deliveries?status=delivered").text
    said = browser.post("/deliveries/redrive", data={"all": "1"}, headers={CSRF_HEADER: "1"}).text
    assert "pending again" in said
    assert "Redrive all" not in browser.get("/deliveries").text


def test_a_change_is_told(sample: Sample) -> None:
    async def work(feed: Feed) -> None:
        stream = feed.stream("list", listed, "me", "")
        await told(stream)
        record_run(sample.journal, COMPLETED, run_type="flow", definition="often", name="n")
        while "COMPLETED 3" not in (await told(stream))[1]:
            pass

    reading(work)


def test_a_run_is_asked_to_end(browser: TestClient, sample: Sample) -> None:
    path = f"/flow-runs/flow-run/{sample.running}/cancel"
    assert "Asked to end" in browser.post(path, headers={CSRF_HEADER: "1"}).text
    assert sample.journal.cancels("owner-1") == [sample.running]
