"""An address is read, told of what it cannot be, and changed into other links."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from eventflow.dashboard.views.filters import LONGEST, Address, read_address
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.states import StateType

KNOWN = ("state", "flow", "since", "before", "status")


def an_address(*items: tuple[str, str]) -> Address:
    return read_address("/", items, KNOWN)


def test_what_is_empty_or_not_known_is_left_out() -> None:
    address = an_address(("flow", " etl "), ("state", ""), ("token", "x"), ("flow", "b\0c"))
    assert str(address) == "/?flow=etl&flow=b%EF%BF%BDc"
    assert address.one("flow") == "b\ufffdc"
    assert len(an_address(("flow", "x" * 9999)).one("flow") or "") == LONGEST


def test_values_are_read_by_their_kinds() -> None:
    key = "01a223de-3001-77ab-ab9c-d47476a16bfc"
    address = an_address(
        *(("state", "FAILED"), ("state", "crashed"), ("status", "dead"), ("before", key)),
        ("since", "2026-03-01T12:30+02:00"),
    )
    assert address.states() == [StateType.FAILED, StateType.CRASHED]
    assert address.statuses() == [DeliveryStatus.DEAD]
    assert address.id("before") == UUID(key)
    assert address.moment("since") == datetime(2026, 3, 1, 10, 30, tzinfo=UTC)
    assert address.problems == []


def test_a_time_without_a_zone_is_in_that_of_this_host() -> None:
    local = datetime(2026, 3, 1, 12, 30).astimezone()
    assert an_address(("since", "2026-03-01T12:30")).moment("since") == local


@pytest.mark.parametrize("text", ["x", "0001-01-01", "9999-12-31T23:59+14:00", "1e9", "-1"])
def test_what_a_value_cannot_be_is_told_once(text: str) -> None:
    address = an_address(("state", text), ("status", text), ("since", text), ("before", text))
    for _ in range(2):
        assert (address.states(), address.statuses()) == ([], [])
        assert (address.moment("since"), address.id("before")) == (None, None)
    assert len(address.problems) == 4
    assert all(repr(text) in problem for problem in address.problems)


def test_links_change_one_value_and_keep_the_others() -> None:
    address = an_address(("flow", "a b"), ("state", "failed"))
    assert address.with_(flow=None) == "/?state=failed"
    assert address.with_(flow="c&d") == "/?state=failed&flow=c%26d"
    assert address.toggled("state", "crashed") == "/?flow=a+b&state=failed&state=crashed"
    assert address.toggled("state", "FAILED") == "/?flow=a+b"
    assert address.has("state", "Failed")
    assert address.live("1f") == "/live/?flow=a+b&state=failed&after=1f"
