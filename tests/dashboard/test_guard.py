"""Who may read the page and change something: token, cookie, host, origin and header."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from eventflow.dashboard.guard import CSRF_HEADER, is_loopback
from tests.cli.sample_journal import Sample
from tests.dashboard.conftest import TOKEN

PATHS = ["/", "/deliveries", "/?state=failed", "/flow-runs/flow-run/{failed}"]
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize("path", PATHS)
def test_without_token_and_cookie_no_page_answers(
    stranger: TestClient, sample: Sample, path: str
) -> None:
    answer = stranger.get(path.format(failed=sample.failed))
    assert answer.status_code == 401
    assert "brave-otter" not in answer.text


@pytest.mark.parametrize("path", PATHS)
def test_a_token_in_the_address_leads_to_the_page_and_sets_the_cookie(
    stranger: TestClient, sample: Sample, path: str
) -> None:
    path = path.format(failed=sample.failed)
    answer = stranger.get(f"{path}{'&' if '?' in path else '?'}token={TOKEN}")
    assert (answer.status_code, answer.headers["location"]) == (303, path)
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert stranger.get(path).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_a_script_sends_the_token_in_a_header(
    stranger: TestClient, sample: Sample, path: str
) -> None:
    assert stranger.get(path.format(failed=sample.failed), headers=BEARER).status_code == 200


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], f"{TOKEN}x", "\u00e9"])
def test_a_wrong_token_lets_nobody_in(stranger: TestClient, token: str) -> None:
    assert stranger.get("/", params={"token": token}).status_code == 401
    header = f"Bearer {token}".encode()
    assert stranger.get("/", headers={b"authorization": header}).status_code == 401
    stranger.cookies.set("eventflow-4200", token.encode().hex())
    assert stranger.get("/").status_code == 401


def test_the_redirect_stays_on_this_host(stranger: TestClient) -> None:
    for path in ("//evil.example/x", "/\\evil.example", "///evil.example"):
        answer = stranger.get(f"http://127.0.0.1:4200{path}?token={TOKEN}")
        place = answer.headers["location"]
        assert place.startswith("/")
        assert not place.startswith(("//", "/\\"))


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:4200", "127.0.0.1.evil.example", "", "[::1", "127.0.0.2"]
)
def test_a_foreign_host_is_refused(stranger: TestClient, host: str) -> None:
    for path in ("/", "/healthz", "/static/page.css"):
        assert stranger.get(path, headers={**BEARER, "Host": host}).status_code == 400


@pytest.mark.parametrize("host", ["localhost:4200", "127.0.0.1", "[::1]:4200", "LOCALHOST"])
def test_the_names_of_this_host_are_known(stranger: TestClient, host: str) -> None:
    assert stranger.get("/", headers={**BEARER, "Host": host}).status_code == 200


def test_the_health_needs_nothing(stranger: TestClient) -> None:
    answer = stranger.get("/healthz")
    assert (answer.status_code, answer.text) == (200, "ok\n")


def test_a_change_needs_the_header(browser: TestClient, sample: Sample) -> None:
    for path in ("/deliveries/redrive", f"/flow-runs/flow-run/{sample.running}/cancel", "/"):
        assert browser.post(path).status_code == 403
        assert browser.post(path, headers=BEARER).status_code == 403
    assert sample.journal.cancels("owner-1") == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:4201"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_change_comes_from_this_page(
    browser: TestClient, sample: Sample, headers: dict[str, str]
) -> None:
    path = f"/flow-runs/flow-run/{sample.running}/cancel"
    assert browser.post(path, headers={CSRF_HEADER: "1", **headers}).status_code == 403
    own = {CSRF_HEADER: "1", "Origin": "http://127.0.0.1:4200", "Sec-Fetch-Site": "same-origin"}
    assert browser.post(path, headers=own).status_code == 200


def test_every_answer_has_the_headers(browser: TestClient, stranger: TestClient) -> None:
    for path in ("/", "/deliveries", "/nowhere", "/healthz", "/static/page.css", "/static/none"):
        headers = browser.get(path).headers
        assert headers["content-security-policy"].startswith(
            "default-src 'none'; script-src 'self'"
        )
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["x-frame-options"] == "DENY"
    assert browser.get("/").headers["cache-control"] == "no-store"
    assert "immutable" in browser.get("/static/page.css").headers["cache-control"]


def test_a_link_from_another_site_is_followed_once_more_with_the_cookie(
    stranger: TestClient,
) -> None:
    answer = stranger.get("/", headers={"Sec-Fetch-Site": "cross-site"})
    assert (answer.status_code, 'http-equiv="refresh"' in answer.text) == (401, True)
    again = stranger.get("/", headers={"Sec-Fetch-Site": "same-origin"})
    assert (again.status_code, 'http-equiv="refresh"' in again.text) == (401, False)


def test_which_addresses_only_this_host_can_reach() -> None:
    assert [*map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost"))] == [True] * 4
    assert [*map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.com"))] == [False] * 4
