"""Under which names the page is served, and what it needs to be open to the network."""

from __future__ import annotations

import socket

import pytest

from eventflow.dashboard.server import _names, serve
from eventflow.errors import ConfigurationError
from eventflow.settings import EVENTFLOW_API_URL, temporary_settings


def test_it_is_served_under_its_own_name_and_that_of_its_links() -> None:
    with temporary_settings({EVENTFLOW_API_URL: "https://flows.example.com:8443/x"}):
        assert _names("192.0.2.1") == {"192.0.2.1", "flows.example.com"}
        everywhere = _names("0.0.0.0")
    assert {"flows.example.com", socket.gethostname()} <= everywhere
    assert "0.0.0.0" not in everywhere


@pytest.mark.parametrize("token", [None, "short"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_the_network_needs_a_token(host: str, token: str | None) -> None:
    """A short one can be guessed."""
    told: list[tuple[str, str]] = []
    with pytest.raises(ConfigurationError, match="opens the page to the network"):
        serve(host, 0, token, lambda *given: told.append(given))
    assert told == []
