"""Every route is described by a schema, and none answers hostile input with a fault of its own."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from starlette.routing import Route
from starlette.testclient import TestClient

from eventflow.dashboard.app import create_app
from eventflow.dashboard.guard import CSRF_HEADER
from eventflow.dashboard.views import deliveries, runs
from tests.cli.sample_journal import Sample
from tests.dashboard.conftest import TOKEN

ORIGIN = "http://127.0.0.1:4200"
HEADERS = {"Authorization": f"Bearer {TOKEN}", CSRF_HEADER: "1"}
ANSWERS = {"default": {"description": "a page", "content": {"text/html": {}}}}
TEXTS: dict[str, Any] = {
    "since": {"type": "string", "format": "date-time"},
    "until": {"type": "string", "format": "date-time"},
    "before": {"type": "string", "format": "uuid"},
    "parent": {"type": "string", "format": "uuid"},
    "run": {"type": "string", "format": "uuid"},
    "order": {"enum": ["failed"]},
    "type": {"enum": ["task", "flow"]},
    "state": {"type": "array", "items": {"type": "string"}},
    "status": {"type": "array", "items": {"type": "string"}},
}
RUN = "{run_id}"
NAMES = {"/": runs.KNOWN, "/deliveries": deliveries.KNOWN, "/deliveries/redrive": deliveries.KNOWN}
PAGES = ("/", "/deliveries", f"/flow-runs/flow-run/{RUN}", f"/task-runs/task-run/{RUN}")


def described(path: str, method: str) -> dict[str, Any]:
    """Describe a method of a path: what its query, its path and its headers may be."""
    text = {"type": "string"}
    names = NAMES.get(path.removeprefix("/live") or "/", ())
    parameters = [{"name": name, "in": "query", "schema": TEXTS.get(name, text)} for name in names]
    parameters += [
        {"name": name, "in": "header", "schema": text}
        for name in ("Origin", "Sec-Fetch-Site", "User-Agent", "Last-Event-ID")
    ]
    if RUN in path:
        identity = {"type": "string", "format": "uuid"}
        parameters.append({"name": "run_id", "in": "path", "required": True, "schema": identity})
    found: dict[str, Any] = {"parameters": parameters, "responses": ANSWERS}
    if method == "post":
        form = {"type": "object", "properties": {"id": text, "all": text}}
        found["requestBody"] = {"content": {"application/x-www-form-urlencoded": {"schema": form}}}

    return found


STYLESHEET = "/static/page.css"
READ = ("/healthz", STYLESHEET, "/static/timeline.css", *PAGES)
CHANGED = ("/deliveries/redrive", *(f"{path}/cancel" for path in PAGES if RUN in path))
PATHS: dict[str, Any] = {
    **{path: {"get": described(path, "get")} for path in READ},
    # A stream has no end.
    **{f"/live{path}": {"head": described(path, "head")} for path in PAGES},
    **{path: {"post": described(path, "post")} for path in CHANGED},
}
SCHEMA = schemathesis.openapi.from_dict(
    {"openapi": "3.1.0", "info": {"title": "The page", "version": "1"}, "paths": PATHS}
)


@pytest.fixture
def visitor(browser: TestClient, sample: Sample) -> tuple[TestClient, Sample]:
    return browser, sample


def test_every_route_is_described() -> None:
    routes = {
        route.path.replace("{run_id:uuid}", RUN)
        for route in create_app(TOKEN).routes
        if isinstance(route, Route)
    }
    assert routes | {STYLESHEET} == {*PATHS}


@pytest.mark.parametrize(
    ("path", "method"), [(path, method) for path, methods in PATHS.items() for method in methods]
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_route_fails(
    visitor: tuple[TestClient, Sample], path: str, method: str, data: st.DataObject
) -> None:
    """Neither with what its schema allows, nor with what it does not."""
    browser, sample = visitor
    operation = SCHEMA[path][method]
    case = data.draw(st.one_of([operation.as_strategy(mode) for mode in GenerationMode]))
    known = data.draw(st.sampled_from([None, sample.failed, sample.running, sample.tasks[0]]))
    if known is not None and RUN in path:
        case.path_parameters = {"run_id": str(known)}
    asked: Any = requests.Request(**case.as_transport_kwargs(ORIGIN, HEADERS)).prepare()
    answer = browser.request(method, asked.url, headers=asked.headers, content=asked.body)
    assert answer.status_code < 500
