"""Blocks of one value: a string, a secret, or any JSON value."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, JsonValue, SecretStr

from eventflow.blocks.core import Block

__all__ = ["JSON", "Secret", "String"]


class String(Block):
    """A string, stored in plain text."""

    value: str

    def __init__(self, value: str, **fields: Any) -> None:
        BaseModel.__init__(self, value=value, **fields)


class Secret(Block):
    """A secret string: encrypted at rest, masked wherever it is shown."""

    value: SecretStr

    def __init__(self, value: SecretStr | str, **fields: Any) -> None:
        BaseModel.__init__(self, value=value, **fields)

    def get(self) -> str:
        """Return the secret in plain text."""
        return self.value.get_secret_value()


class JSON(Block):
    """Any JSON value: an object, list, string, number, boolean or null."""

    value: JsonValue

    def __init__(self, value: JsonValue, **fields: Any) -> None:
        BaseModel.__init__(self, value=value, **fields)
