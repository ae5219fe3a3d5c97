"""Whatever is asked for, no answer is a fault of the server, and no text is taken for HTML."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from eventflow.dashboard.guard import CSRF_HEADER
from tests.cli.sample_journal import Sample

NAMES = ["state", "flow", "tag", "text", "since", "until", "parent", "type", "order", "before"]
MORE = ["status", "hook", "error", "run", "after", "token", "x"]
USUAL = ["failed", "dead", "task", "2026-03-01T12:30", "9999-12-31T23:59+14:00", "0001-01-01", "*"]
TEXTS = st.one_of(st.sampled_from([*USUAL, "[", "\0", "'\"<b>", "%"]), st.text(max_size=20))
PATHS = ["/", "/deliveries", "/flow-runs/flow-run/{run}", "/task-runs/task-run/{run}", "/live/x"]
ITEMS = st.lists(st.tuples(st.sampled_from(NAMES + MORE), TEXTS), max_size=4)


@pytest.fixture
def visitor(browser: TestClient, sample: Sample) -> tuple[TestClient, Sample]:
    return browser, sample


SETTINGS = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@SETTINGS
@example(path="/", items=[("since", "0001-01-01"), ("until", "9999-12-31T23:59+14:00")])
@example(path="/", items=[("until", "9999-12-31"), ("before", "x"), ("state", "'\"<b>")])
@given(path=st.sampled_from(PATHS), items=ITEMS)
def test_any_query_is_answered(
    visitor: tuple[TestClient, Sample], path: str, items: list[tuple[str, str]]
) -> None:
    browser, sample = visitor
    query = urlencode(items, errors="surrogatepass")
    answer = browser.get(f"{path.format(run=sample.failed)}?{query}")
    assert answer.status_code in {200, 404, 401}
    assert "'\"<b>" not in answer.text


@SETTINGS
@given(path=st.text(max_size=30), method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD"]))
def test_any_path_is_answered(visitor: tuple[TestClient, Sample], path: str, method: str) -> None:
    browser, _ = visitor
    url = f"/{quote(path, errors='surrogatepass')}"
    answer = browser.request(method, url, headers={CSRF_HEADER: "1"})
    assert answer.status_code in {200, 307, 404, 405}


@SETTINGS
@given(body=st.binary(max_size=60), query=ITEMS)
def test_any_form_is_answered(
    visitor: tuple[TestClient, Sample], body: bytes, query: list[tuple[str, str]]
) -> None:
    browser, _ = visitor
    url = f"/deliveries/redrive?{urlencode(query, errors='surrogatepass')}"
    assert browser.post(url, content=body, headers={CSRF_HEADER: "1"}).status_code in {200, 401}


def test_a_form_has_a_bound(browser: TestClient) -> None:
    answer = browser.post("/deliveries/redrive", content=b"x" * 2**21, headers={CSRF_HEADER: "1"})
    assert answer.status_code == 413
