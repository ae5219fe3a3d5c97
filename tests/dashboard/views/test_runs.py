"""The page of runs: newest first, filtered, counted, failed first; and what if it is empty."""

from __future__ import annotations

import re
from datetime import timedelta
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from eventflow.dashboard.views import runs
from eventflow.hooks.ledger import DeliveryStatus
from tests.cli.sample_journal import COMPLETED, ERROR, RETRIED, Owed, Sample, record_run


def shown(browser: TestClient, path: str) -> list[UUID]:
    """Return the runs that a page lists, in their order."""
    answer = browser.get(path)
    assert answer.status_code == 200

    return [UUID(text) for text in re.findall(r'<tr id="run-([-0-9a-f]+)"', answer.text)]


def test_the_newest_flow_runs_come_first(browser: TestClient, sample: Sample) -> None:
    assert shown(browser, "/") == [sample.running, sample.failed, sample.old]


def test_every_filter_is_a_link(browser: TestClient, sample: Sample) -> None:
    failed, running = sample.failed, sample.running
    assert shown(browser, "/?state=failed") == [failed]
    assert shown(browser, "/?state=failed&state=running") == [running, failed]
    assert shown(browser, "/?flow=et*") == [failed]
    assert shown(browser, "/?tag=prod&tag=eu") == [failed]
    assert shown(browser, "/?text=BRAVE") == [failed]
    assert shown(browser, "/?text=no+such+table") == [failed]
    assert shown(browser, "/?flow=etl&state=completed") == []
    assert set(shown(browser, f"/?parent={failed}")) == set(sample.tasks)
    assert set(shown(browser, "/?type=task")) == set(sample.tasks)
    assert sample.old not in shown(browser, "/?since=2026-10-25T00:00")


def test_those_that_failed_come_first_at_a_click(browser: TestClient, sample: Sample) -> None:
    assert shown(browser, "/?order=failed") == [sample.failed, sample.running, sample.old]


def test_counts_are_exact_whatever_is_shown(browser: TestClient, sample: Sample) -> None:
    for place in range(60):
        record_run(
            sample.journal,
            COMPLETED,
            run_type="flow",
            definition="often",
            name=f"n{place}",
            ago=timedelta(hours=1),
        )
    text = browser.get("/").text
    assert re.search(r"Completed <b>61</b>", text)
    assert re.search(r"Failed <b>1</b>", text)
    first = shown(browser, "/?flow=often")
    older = re.search(r'class="more"><a href="([^"]+)"', browser.get("/?flow=often").text)
    assert older is not None
    second = shown(browser, older[1].replace("&amp;", "&"))
    assert (len(first), len(second), len({*first, *second})) == (50, 10, 60)


def test_a_text_is_searched_in_so_many_runs_at_a_time(
    browser: TestClient, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page says how far it has searched, and a link goes on; no run is left out."""
    monkeypatch.setattr(runs, "SEARCHED", 2)
    made = [
        record_run(sample.journal, COMPLETED, run_type="flow", definition="often", name=f"n{place}")
        for place in range(6)
    ]
    path, found, pages = "/?text=n1", [], 0
    while True:
        found += shown(browser, path)
        pages += 1
        text = browser.get(path).text
        older = re.search(r'<a href="([^"]+)">Search older runs', text)
        if older is None:
            break
        assert "The newest 2 runs" in text
        assert "No run matches" not in text
        path = older[1].replace("&amp;", "&")
    assert found == [made[1]]
    assert pages == 5
    assert "Search older runs" not in browser.get("/?flow=often").text


def test_each_flow_has_a_strip_of_its_last_runs(browser: TestClient, sample: Sample) -> None:
    for _ in range(35):
        record_run(sample.journal, RETRIED, run_type="flow", definition="often")
    text = browser.get("/").text
    strip = re.search(r"often: the last 30 runs, the last one Failed(.*?)</svg>", text)
    assert strip is not None
    assert strip[1].count("bar-failed") == 30


def test_a_hook_that_fails_is_on_the_first_page(browser: TestClient, sample: Sample) -> None:
    dead = Owed("Failed", "alerts:*", DeliveryStatus.DEAD, 3, ERROR.model_dump_json())
    record_run(sample.journal, RETRIED, dead)
    text = browser.get("/").text
    assert "alerts:page" in text
    assert 'href="/deliveries?hook=alerts%3A%5B%2A%5D"' in text


def test_an_empty_list_says_what_to_do(browser: TestClient, sample: Sample) -> None:
    assert "No run matches" in browser.get("/?flow=nothing").text
    text = browser.get("/?state=nothing").text
    assert "state cannot be &#39;nothing&#39;" in text
