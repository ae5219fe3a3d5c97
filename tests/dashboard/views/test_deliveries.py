"""The page of deliveries: what is left, by status, hook and error."""

from __future__ import annotations

from starlette.testclient import TestClient

from eventflow.journal.records import pack
from tests.cli.sample_journal import Sample
from tests.journal.rows import ARun, commit


def test_what_is_left_is_shown_with_its_error(browser: TestClient, sample: Sample) -> None:
    text = browser.get("/deliveries").text
    assert "alerts:page" in text
    assert "no such table" in text
    assert "alerts:begun" not in text
    assert "Redrive all 1 dead" in text


def test_filters(browser: TestClient, sample: Sample) -> None:
    for query, is_shown in {
        "status=dead": True,
        "status=delivered": False,
        "hook=alerts:p*": True,
        "hook=other:*": False,
        "error=ValueError": True,
        "error=KeyError": False,
        f"run={sample.failed}": True,
        f"run={sample.running}": False,
    }.items():
        text = browser.get(f"/deliveries?{query}").text
        assert ("alerts:page</b>" in text) == is_shown, query
    assert "alerts:begun</b>" in browser.get("/deliveries?status=delivered").text


def test_an_empty_list_says_what_to_do(browser: TestClient, sample: Sample) -> None:
    assert "No delivery matches" in browser.get("/deliveries?hook=nothing").text


def test_what_waits_for_a_worker_says_so(browser: TestClient, sample: Sample) -> None:
    listed = pack("L", ["~left", ["reports:press", 1, 1]])
    commit(sample.journal, listed, ARun().enter("PRC", listed="~left"))
    text = browser.get("/deliveries?hook=reports:*").text

    assert "reports:press</b>" in text
    assert "waits for a worker" in text
    assert "waits for a worker" not in browser.get("/deliveries?hook=alerts:*").text
