"""The plain blocks: a string, a secret, and JSON."""

from __future__ import annotations

import math

import pytest
from pydantic import JsonValue, SecretStr, ValidationError

from eventflow.blocks import JSON, Secret, String


def test_each_takes_its_value_by_place_or_by_name() -> None:
    """Positionally or by keyword."""
    assert String("x") == String(value="x")
    assert Secret("x") == Secret(value=SecretStr("x"))
    assert JSON([1]) == JSON(value=[1])


def test_a_secret_gives_itself_only_when_asked() -> None:
    """Only `get` returns it."""
    secret = Secret("hush")
    assert "hush" not in f"{secret!r} {secret} {secret.model_dump_json()}"
    secret.save("s")
    assert Secret.load("s").get() == "hush"


@pytest.mark.parametrize("value", [None, True, 1, 0.5, "x", [1, [2]], {"a": {"b": None}}, math.inf])
def test_json_comes_back_as_it_was(value: JsonValue) -> None:
    """Of JSON, and infinities."""
    JSON(value).save("j")
    assert JSON.load("j").value == value


def test_json_takes_only_what_json_can_say() -> None:
    """Anything else is refused before it is saved."""
    with pytest.raises(ValidationError):
        JSON(object())  # type: ignore[arg-type]
