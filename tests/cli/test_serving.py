"""`eventflow serve`: where the page is, and what it needs."""

from __future__ import annotations

import re
import signal
import sys
from urllib.request import Request, urlopen

import pytest

from eventflow.errors import MissingExtraError
from tests.cli.conftest import Invoke, Spawn


def get(url: str, token: str | None = None) -> tuple[int, str]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    with urlopen(Request(url, headers=headers)) as answer:
        return answer.status, answer.read().decode()


def test_the_address_lets_in_and_names_a_token_of_its_own(spawn: Spawn) -> None:
    """Each start has another token, unless one is given."""
    tokens = set()
    for _ in range(2):
        process = spawn("serve", "--port", "0")
        assert process.stdout is not None
        found = re.search(r"(http://127\.0\.0\.1:\d+)/\?token=(\S{20,})", process.stdout.readline())
        assert found is not None
        assert get(f"{found[1]}/healthz") == (200, "ok\n")
        status, text = get(found[1], found[2])
        assert (status, "there is no journal" in text) == (200, True)
        tokens.add(found[2])
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert len(tokens) == 2


def test_the_settings_are_asked(spawn: Spawn) -> None:
    given = {"EVENTFLOW_UI_PORT": "0", "EVENTFLOW_UI_TOKEN": "a-given-token"}
    process = spawn("serve", env=given)
    assert process.stdout is not None
    assert "?token=a-given-token" in process.stdout.readline()


def test_a_token_is_escaped_in_the_address(spawn: Spawn) -> None:
    process = spawn("serve", env={"EVENTFLOW_UI_PORT": "0", "EVENTFLOW_UI_TOKEN": "T&=%/"})
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.endswith("?token=T%26%3D%25%2F\n")
    assert get(line.removeprefix("The page is at ").partition("?")[0], "T&=%/")[0] == 200


def test_the_network_needs_a_token(invoke: Invoke) -> None:
    result = invoke("serve", "--host", "0.0.0.0", "--port", "0")
    assert result.exit_code == 2
    assert "EVENTFLOW_UI_TOKEN" in result.stderr


def test_a_token_fits_into_a_header(invoke: Invoke) -> None:
    for token in ("with space", "grün", "two\nlines"):
        result = invoke("serve", "--port", "0", "--token", token)
        assert result.exit_code == 2
        assert token not in result.stderr


def test_without_its_packages_it_says_what_to_install(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["eventflow.cli.serving"]
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    result = invoke("serve")
    assert result.exit_code == 2
    assert "pip install 'eventflow-runtime[ui]'" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert MissingExtraError.__name__ not in result.stderr
