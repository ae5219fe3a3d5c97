"""Endpoints show and record no secret, and refuse what cannot be sent to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import SecretStr

from eventflow.forwarding import ForwardingRefused
from eventflow.forwarding.endpoints import Endpoint, Hidden, read_endpoint
from tests.forwarding.conftest import TOKEN


def test_it_comes_back_from_its_record() -> None:
    """In which URL and headers are encrypted, but for the names of variables."""
    headers: dict[str, str | SecretStr] = {
        "Authorization": SecretStr(f"Bearer {TOKEN}"),
        "X-Key": "env:KEY",
    }
    endpoint = read_endpoint(f"https://me:{TOKEN}@events.example.com/{TOKEN}", headers)
    text = json.dumps(endpoint.recorded())
    assert TOKEN not in text + repr(endpoint)
    assert '"X-Key": "env:KEY"' in text
    assert Endpoint.restored(json.loads(text)) == endpoint


@pytest.mark.parametrize(
    ("url", "label"),
    [
        (
            f"https://me:{TOKEN}@events.example.com:8443/{TOKEN}?a={TOKEN}",
            "events.example.com:8443",
        ),
        ("http://[::1]:80/", "[::1]:80"),
        ("env:EVENTS_URL", "EVENTS_URL"),
    ],
)
def test_what_is_shown_of_it(url: str, label: str) -> None:
    assert read_endpoint(url, None).label.rpartition("//")[2] == label


def test_a_variable_is_read_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    url = Hidden(SecretStr("env:EVENTS_URL"))
    with pytest.raises(ForwardingRefused, match="variable EVENTS_URL is not set"):
        url.value()
    monkeypatch.setenv("EVENTS_URL", " http://localhost/\n")
    assert url.value() == "http://localhost/"


@pytest.mark.parametrize(
    ("url", "headers", "error", "message"),
    [
        (7, None, TypeError, "URL of forward.* must be a string, but is of type int"),
        ("ftp://hunter2", None, ValueError, "must begin with 'https://'"),
        ("https:///hunter2", None, ValueError, "must begin with 'https://'"),
        ("http://a/hunter2 b", None, ValueError, "must begin with 'https://'"),
        ("http://a/\nhunter2", None, ValueError, "printable ASCII"),
        ("redis://hunter2/0", None, ValueError, "name a stream, as 'redis://"),
        ("redis://a/0?stream=b", {"X-Key": "a"}, ValueError, "Redis takes no headers"),
        ("http://a", {"X-Key": 1}, TypeError, "header X-Key .* must be a string"),
        ("http://a", {"X-Key": "hunter2\r\nEvil: 1"}, ValueError, "X-Key .* printable ASCII"),
        ("http://a", {"X Key": "a"}, ValueError, "not 'X Key'"),
        ("http://a", {"content-TYPE": "a"}, ValueError, "none of content-length, content-type"),
    ],
)
def test_what_cannot_be_sent_to_is_refused(
    url: Any, headers: Any, error: type[Exception], message: str
) -> None:
    """What may hold a secret is not shown."""
    with pytest.raises(error, match=message) as caught:
        read_endpoint(url, headers)
    assert "hunter2" not in str(caught.value)
