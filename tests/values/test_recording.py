"""Parameters as they are recorded: for people to read, without secrets, and not too long."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import SecretStr

from eventflow import Unavailable
from eventflow.settings import (
    EVENTFLOW_MASK_SECRETS,
    EVENTFLOW_PARAMETERS_BYTES,
    temporary_settings,
)
from eventflow.values.recording import record_parameters
from eventflow.values.restoring import restore_parameters
from tests.values.kinds import Login, Warehouse, find_type, restored


def test_plain_values_are_their_own_record() -> None:
    """Without a word on their types."""
    values = {"a": 1, "b": 1.5, "c": "text", "d": True, "e": None, "f": [1, {"g": "h"}]}
    assert record_parameters(values) == json.dumps([values], separators=(",", ":"))
    assert record_parameters({}) == "[{}]"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_key", "hunter2"),
        ("PASSWORD", b"hunter2"),
        ("settings", {"db": [{"dbPassword": "hunter2"}]}),
        ("headers", {"Authorization": "Bearer hunter2"}),
        ("token", ["hunter2"]),
        ("url", "postgres://me:hunter2@host/db"),
        ("urls", {"x": ("amqp://me:hunter2@host",)}),
        ("login", Login("me", "hunter2")),
        ("secret", SecretStr("hunter2")),
        ("warehouse", Warehouse(host="h", code=SecretStr("hunter2"))),
    ],
)
def test_a_secret_is_not_recorded(name: str, value: object) -> None:
    """Neither by its name nor by its type; it comes back as unavailable, never as stars."""
    text = record_parameters({name: value})
    assert text is not None
    assert "hunter2" not in text
    back = restore_parameters(text, find_type)
    assert "<Unavailable: " in repr(back)
    with temporary_settings({EVENTFLOW_MASK_SECRETS: False}):
        is_typed = isinstance(value, SecretStr | Warehouse)
        back = restore_parameters(record_parameters({name: value}), find_type)
        assert ("<Unavailable: " in repr(back)) is is_typed
        assert is_typed or back[name] == value


@pytest.mark.parametrize("receiver", [Login("me", "hunter2"), Login])
def test_of_what_a_method_is_called_on_the_class_is_recorded(receiver: object) -> None:
    """Neither what is in it nor its repr, however it could be recorded elsewhere."""
    text = record_parameters({"self": receiver, "day": 1}, receiver="self")
    assert text is not None
    assert json.loads(text)[0] == {"self": "Login", "day": 1}
    back = restore_parameters(text, find_type)
    assert back["day"] == 1
    assert "of which only the class is recorded" in repr(back["self"])


@pytest.mark.parametrize(
    "value", ["hunter2", b"hunter2", {"x": "hunter2"}, [("hunter2",)], 1234567, {"x": {1234567}}]
)
def test_what_was_given_for_a_secret_is_not_recorded(value: object) -> None:
    """Where it was not made one: it did not fit, or nothing was validated."""
    for mask in (True, False):
        with temporary_settings({EVENTFLOW_MASK_SECRETS: mask}):
            text = record_parameters({"code": value, "n": 1}, {"code"})
        assert text is not None
        assert "hunter2" not in text
        assert "1234567" not in text


@pytest.mark.parametrize("value", [True, None])
def test_what_cannot_be_a_secret_is_recorded(value: object) -> None:
    """A boolean or None, whatever it is called."""
    assert restore_parameters(record_parameters({"token": value}), find_type) == {"token": value}


class Hostile:
    """Raises whatever is asked of it."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError


def test_a_class_may_do_anything() -> None:
    """It is unavailable, and the others are recorded."""
    back = restore_parameters(record_parameters({"hostile": Hostile(), "n": [1]}), find_type)
    assert isinstance(back["hostile"], Unavailable)
    assert back["n"] == [1]


def test_endless_values() -> None:
    """What contains itself, or is nested too deep, is unavailable."""
    endless: list[Any] = []
    endless.append(endless)
    deep: Any = ()
    for _ in range(100_000):
        deep = (deep,)
    assert "nested more than" in repr(restored(endless))
    assert "nested more than" in repr(restored(deep))


@pytest.mark.parametrize(
    "large",
    ["x" * 2000, b"x" * 2000, ["x" * 50] * 50, {"a": list(range(2000))}, 1 << 9999, "é" * 900],
)
def test_a_limit_for_all_parameters_of_a_run(large: Any) -> None:
    """One that is longer is unavailable, with the setting in its reason; shorter ones are not."""
    with temporary_settings({EVENTFLOW_PARAMETERS_BYTES: 1000}):
        text = record_parameters({"first": [1], "large": large, "last": (2,)})
    assert text is not None
    assert len(text) < 5000
    back = restore_parameters(text, find_type)
    assert "EVENTFLOW_PARAMETERS_BYTES" in repr(back["large"])
    assert (back["first"], back["last"]) == ([1], (2,))
    default = restore_parameters(record_parameters({"large": large}), find_type)
    assert default["large"] == large
