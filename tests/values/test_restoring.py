"""A value comes back equal and of its own type, or it is unavailable; never anything else."""

from __future__ import annotations

import datetime as dt
import json
import math
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from fractions import Fraction
from ipaddress import ip_address, ip_network
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel, HttpUrl, SecretStr, TypeAdapter

from eventflow import Unavailable
from eventflow.values.recording import record_parameters
from eventflow.values.restoring import readable_parameters, restore_parameters
from tests.values import kinds
from tests.values.kinds import find_type, restored

BERLIN = ZoneInfo("Europe/Berlin")


def same(one: Any, other: Any) -> bool:  # noqa: C901, PLR0911 - one for each kind
    """Return whether two values are equal and of equal types, through and through."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, list | tuple | deque):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            same(*keys) and same(*items)
            for keys, items in zip(
                zip(one, other, strict=True), zip(one.values(), other.values(), strict=True),
                strict=True,
            )
        )  # fmt: skip
    if isinstance(one, set | frozenset):
        return one == other and sorted(map(repr, one)) == sorted(map(repr, other))
    if isinstance(one, dt.datetime | dt.time):
        return bool(
            one == other and one.isoformat() == other.isoformat() and one.fold == other.fold
        )
    if isinstance(one, BaseModel):
        return same(vars(one), vars(other)) and one.model_fields_set == other.model_fields_set

    if isinstance(one, kinds.Point):
        return same((one.x, one.y), (other.x, other.y))

    # Not by `==`: a NaN is not equal to itself.
    return repr(one) == repr(other)


@pytest.mark.parametrize(
    "value",
    [
        *(1, True, None, 1.5, -0.0, 1e16, "text", "", float("inf"), float("nan"), 10**30, 2**64),
        *([1, [2.0, "a"]], (1, (2,)), {"a": (1,)}, {1: "a", "1": "b", None: 1, (1,): 2}),
        *({1, "a", None, 2.5}, frozenset({(1, 2)}), deque([1, (2,)], 5), OrderedDict(b=1, a=2)),
        *(Counter("abca"), b"\0\xff\\x", bytearray(b"abc"), "\udcff\0", ["\udcff*"], {"\udcff": 1}),
        *(dt.date(2026, 1, 31), dt.datetime(2026, 1, 31, 12), dt.timedelta(-3, 4, 5)),  # noqa: DTZ001
        dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC),
        dt.datetime(2026, 1, 31, 12, tzinfo=dt.timezone(dt.timedelta(hours=-3, minutes=-30))),
        dt.datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN),
        dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN),
        *(dt.time(1, 2, 3, 4), dt.time(1, fold=1), dt.time(1, tzinfo=dt.UTC)),
        *(uuid.UUID(int=7), Decimal("1.10"), Decimal("NaN"), Fraction(1, 3), 1 + 2j),
        *(Path("/a/b"), Path("/a/\udcff"), PurePosixPath("x"), PureWindowsPath("c:\\x")),
        *(ip_address("::1"), ip_network("10.0.0.0/8"), HttpUrl("http://a.b/c"), AnyUrl("x://y")),
        *(kinds.Colour.RED, [kinds.Colour.BLUE, "blue"], kinds.Size.LARGE, kinds.Size.SMALL),
        *(kinds.Flags.ONE, kinds.Flags.ONE | kinds.Flags.TWO, kinds.Flags(0)),
        *(kinds.Point(1, (2,)), kinds.Derived(3), kinds.Pair({1}, b"x"), [kinds.Point(1)] * 3),
        *(kinds.Order(orderNumber=3, hidden=(1,), lines={1: {2}}), kinds.Order()),
        *(kinds.Numbers([1, 2]), kinds.Open.model_validate({"a": (1,)}), kinds.Noted(name="a")),
        TypeAdapter(dt.datetime).validate_python("2026-01-31T10:00:00+02:00"),
        pytest.param(10**5000, id="huge"),
    ],
)  # fmt: skip
def test_a_value_comes_back(value: object) -> None:
    """Equal, of the same type, and so are its parts."""
    back = restored(value)
    if value == 10**5000:
        assert back == value
    else:
        assert same(back, value), repr(back)


def changed_note() -> kinds.Noted:
    """Make a model with a private attribute that no constructor takes."""
    noted = kinds.Noted(name="a")
    noted._note = "secretly"

    return noted


class Local:
    """Something that cannot be recorded."""


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (kinds.Words(["a"]), "kinds.Words cannot be recorded"),
        (kinds.Texts("a"), "kinds.Texts cannot be recorded"),
        (kinds.Moment(2026, 1, 1), "kinds.Moment cannot be recorded"),
        (iter([1]), "list_iterator cannot be recorded"),
        ((item for item in "ab"), "generator cannot be recorded"),
        (defaultdict(list), "defaultdict cannot be recorded"),
        (Local(), "Local cannot be recorded"),
        ([Local()], "Local cannot be recorded"),
        (print, "builtin_function_or_method cannot be recorded"),
        (ValueError("x"), "ValueError cannot be recorded"),
        (dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(0), "mine")), "its time zone"),
        (kinds.Changing(text="a"), "its type changes it"),
        (changed_note(), "its type changes it"),
        (SecretStr("hunter2"), "it is a secret"),
        (kinds.Warehouse(host="h", code=SecretStr("hunter2")), "its code is not available"),
        (kinds.Login("me", "hunter2"), "its password is not available"),
        ("http://me:hunter2@host", "it has credentials in it"),
        ({"http://me:hunter2@host"}, "an item of it is not available"),
        ({("http://me:hunter2@host",): 1}, "it has credentials in it"),
    ],
)
def test_a_value_that_does_not_come_back_says_why(value: object, why: str) -> None:
    """It is unavailable, and nothing secret is in its repr."""
    back = restored(value)
    assert isinstance(back, Unavailable)
    assert why in repr(back)
    assert "hunter2" not in repr(back)


def test_a_type_that_is_not_found_or_has_changed() -> None:
    """The value is unavailable; the others are as they were."""
    text = record_parameters({"point": kinds.Point(1), "number": 2})
    back = restore_parameters(text, lambda _: None)
    assert back["number"] == 2
    assert "tests.values.kinds:Point is not found" in repr(back["point"])
    other = restore_parameters(text, lambda _: kinds.Pair)
    assert isinstance(other["point"], Unavailable)


def test_a_class_of_a_function_is_not_recorded() -> None:
    """No other process can import it."""

    class Inner(BaseModel):
        number: int = 1

    assert "cannot be imported by its name" in repr(restored(Inner()))


def test_a_masked_part_of_a_dict_is_unavailable_alone() -> None:
    """The rest of the dict can be used."""
    back = restored({"host": "h", "auth": {"api_key": "hunter2", "n": (1,)}})
    assert back["host"] == "h"
    assert back["auth"]["n"] == (1,)
    assert repr(back["auth"]["api_key"]) == (
        "<Unavailable: it is called like a secret, and was masked>"
    )


def test_what_an_earlier_version_recorded() -> None:
    """Numbers are values; a text may be a description, so that it is unavailable."""
    old = '{"count":2,"flag":true,"nothing":null,"folders":"[\'/a\', \'/b\']"}'
    back = restore_parameters(old, find_type)
    assert {name: back[name] for name in ("count", "flag", "nothing")} == {
        "count": 2,
        "flag": True,
        "nothing": None,
    }
    assert "recorded by an earlier version" in repr(back["folders"])
    assert readable_parameters(old) == json.loads(old)


@pytest.mark.parametrize("text", [None, "no JSON", "[]", "7"])
def test_a_record_that_is_not_there_or_not_readable(text: str | None) -> None:
    """Every parameter of the definition is unavailable."""
    back = restore_parameters(text, find_type, ["a"])
    assert isinstance(back["a"], Unavailable)


def test_a_record_is_not_made_again() -> None:
    """What recovery writes of a run it has restored is what was recorded of it."""
    text = record_parameters({"client": Local(), "password": "x", "day": dt.date(2026, 1, 1)})
    assert record_parameters(restore_parameters(text, find_type)) == text


keys = st.none() | st.booleans() | st.integers() | st.text() | st.dates() | st.uuids()
leaves = (
    keys
    | st.floats()
    | st.binary()
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.times()
    | st.timedeltas()
    | st.decimals()
    | st.fractions()
    | st.complex_numbers()
    | st.sampled_from([*kinds.Colour, *kinds.Size, kinds.Flags(3)])
    | st.builds(lambda text: PurePosixPath(f"/{text}"), st.text())
    | st.text(st.characters(exclude_categories=[]))
)


def containers(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Put values into everything that holds others."""
    return (
        st.lists(items, max_size=4)
        | st.lists(items, max_size=4).map(tuple)
        | st.dictionaries(keys, items, max_size=4)
        | st.dictionaries(st.text(), items, max_size=4)
        | st.sets(keys, max_size=4)
        | st.frozensets(keys, max_size=4)
        | st.builds(kinds.Point, items, items)
        | st.builds(kinds.Pair, items, items)
        | st.builds(lambda hidden: kinds.Order(hidden=hidden), items)
    )


@given(st.recursive(leaves, containers, max_leaves=12))
def test_any_value_comes_back_or_is_unavailable(value: Any) -> None:
    """Whatever it is made of; and its record is text that can be stored."""
    text = record_parameters({"value": value})
    assert text is not None
    text.encode()
    back = restore_parameters(text, find_type)["value"]
    assert isinstance(back, Unavailable) or same(back, value)
