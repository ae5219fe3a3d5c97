"""The origin of events is the home, on its host."""

from __future__ import annotations

import pytest

from eventflow.forwarding.origins import own_origin


def test_each_home_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also homes of one path on two hosts; it is always the same."""
    found = []
    for host, home in [("a", "/one"), ("a", "/two"), ("b", "/one"), ("a", "/one")]:
        monkeypatch.setenv("EVENTFLOW_HOST_ID", host)
        monkeypatch.setenv("EVENTFLOW_HOME", home)
        found.append(own_origin())
    assert len(set(found)) == 3
    assert found[0] == found[-1]
