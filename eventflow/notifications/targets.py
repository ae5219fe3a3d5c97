"""Where notifications go: apprise URLs, or the environment variables and blocks that hold them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

from pydantic import SecretStr

from eventflow.errors import MissingExtraError
from eventflow.primitives.loading import load

__all__ = ["VARIABLE", "Target", "read_target", "restored_target"]

VARIABLE: Final = re.compile(r"env:([A-Za-z_]\w*)", re.ASCII)
_URL: Final = re.compile(r"([A-Za-z][\w+.-]*)://\S+", re.ASCII)
_SECRETS: Final = "eventflow.blocks.secrets"
"""Loaded where it is used: an import of blocks builds their models."""

_BLOCK: Final = re.compile(r"[a-z0-9][a-z0-9_-]*/[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, `env:` and a variable, or a block as `type-slug/name`; `label` shows no secret."""

    text: SecretStr
    label: str
    is_url: bool = False

    def recorded(self) -> str | dict[str, str]:
        """Return it for the journal: a URL is encrypted.

        Raises:
            EventflowError: the key cannot be made or used.
        """
        text = self.text.get_secret_value()
        if not self.is_url:
            return text
        encrypted: bytes = load(_SECRETS).encrypt(text.encode())

        return {"encrypted": encrypted.decode("ascii")}


def read_target(given: object, place: int) -> Target:
    """Read what `notify` was given.

    Raises:
        TypeError: it is no text.
        ValueError: it is neither a URL, nor a variable, nor a block.
        MissingExtraError: apprise is needed, and is not installed.
    """
    text = given.get_secret_value() if isinstance(given, SecretStr) else given
    which = f"Argument {place} of notify(...)"
    if not isinstance(text, str):
        raise TypeError(f"{which} must be a string, but is of type {type(given).__name__}.")
    if _BLOCK.fullmatch(text):
        return Target(SecretStr(text), text)
    variable, url = VARIABLE.fullmatch(text), _URL.fullmatch(text)
    if variable is None and url is None:
        # Not shown: it may be a URL that lacks a part, or has one with a space in it.
        raise ValueError(
            f"{which} must be a URL that apprise understands, such as 'slack://...', the variable "
            "that holds one, such as 'env:SLACK_URL', or a saved block, such as "
            "'slack-webhook/alerts'; it is none of these."
        )
    if find_spec("apprise") is None:
        raise MissingExtraError("notify", "apprise", "notifications")
    if url is not None:
        return Target(SecretStr(text), url[1].lower(), is_url=True)

    return Target(SecretStr(text), text.removeprefix("env:"))


def restored_target(recorded: Any, place: int) -> Target:
    """Return a target from its record.

    Raises:
        EventflowError: it cannot be decrypted with the key in force.
    """
    if isinstance(recorded, dict):
        what = f"URL {place} of a notifier"
        recorded = load(_SECRETS).decrypt(recorded["encrypted"].encode(), what).decode()

    return read_target(recorded, place)
