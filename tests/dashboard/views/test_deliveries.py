"""The page of deliveries: what is left, by status, hook and error."""

from __future__ import annotations

from starlette.testclient import TestClient

from tests.cli.sample_journal import Sample


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
