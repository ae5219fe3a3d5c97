"""Where events are forwarded to: a URL and headers, which may hold secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import urlsplit

from pydantic import SecretStr

from eventflow.errors import EventflowError
from eventflow.hooks.configured import NotRetried
from eventflow.primitives.loading import load

__all__ = [
    "Endpoint",
    "ForwardingError",
    "ForwardingRefused",
    "Hidden",
    "is_redis",
    "read_endpoint",
]

_VARIABLE: Final = re.compile(r"env:([A-Za-z_]\w*)", re.ASCII)
_URL: Final = re.compile(r"https?://[^\s/]+\S*", re.ASCII | re.IGNORECASE)
_REDIS: Final = re.compile(r"rediss?://[^\s/]+\S*[?&]stream=[^\s&]+\S*", re.ASCII)
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_SECRETS: Final = "eventflow.blocks.secrets"
"""Loaded where it is used: an import of blocks builds their models."""

_OWN_HEADERS: Final = frozenset({"content-type", "content-length", "host", "transfer-encoding"})


class ForwardingError(EventflowError):
    """An event was not accepted by the receiver that it was forwarded to."""

    def __init__(self, receiver: str, reason: str) -> None:
        by = f" by {receiver}" if receiver else ""
        super().__init__(f"The event was not accepted{by}: {reason}.")
        self.receiver = receiver
        self.reason = reason


class ForwardingRefused(ForwardingError, NotRetried):
    """An event was refused for good: it is not sent again unless its delivery is redriven."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """A text that may hold a secret, or `env:` and the variable that has it when it is used."""

    text: SecretStr

    @classmethod
    def restored(cls, recorded: Any, what: str) -> Self:
        """Return it from its record; `what` names it in errors.

        Raises:
            EventflowError: it cannot be decrypted with the key in force.
        """
        if isinstance(recorded, dict):
            recorded = load(_SECRETS).decrypt(recorded["encrypted"].encode(), what).decode()

        return cls(SecretStr(recorded))

    @property
    def variable(self) -> str | None:
        """The name of the variable, if it is one."""
        found = _VARIABLE.fullmatch(self.text.get_secret_value())

        return None if found is None else found[1]

    def value(self) -> str:
        """Return what it stands for now.

        Raises:
            ForwardingRefused: the variable is not set.
        """
        if self.variable is None:
            return self.text.get_secret_value()
        value = os.environ.get(self.variable, "").strip()
        if not value:
            reason = f"the environment variable {self.variable} is not set"
            raise ForwardingRefused("", reason)

        return value

    def recorded(self) -> str | dict[str, str]:
        """Return it for the journal: encrypted, unless it is a variable.

        Raises:
            EventflowError: the key cannot be made or used.
        """
        text = self.text.get_secret_value()
        if self.variable is not None:
            return text
        encrypted: bytes = load(_SECRETS).encrypt(text.encode())

        return {"encrypted": encrypted.decode("ascii")}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A URL, and the headers of what is sent there."""

    url: Hidden
    headers: tuple[tuple[str, Hidden], ...] = ()

    @property
    def label(self) -> str:
        """What is shown of it: scheme, host and port, or the name of the variable."""
        if self.url.variable is not None:
            return self.url.variable
        parts = urlsplit(self.url.text.get_secret_value())

        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    def recorded(self) -> dict[str, Any]:
        """Return it for the journal.

        Raises:
            EventflowError: the key cannot be made or used.
        """
        return {
            "url": self.url.recorded(),
            "headers": {name: value.recorded() for name, value in self.headers},
        }

    @classmethod
    def restored(cls, recorded: Any) -> Self:
        """Return it from its record.

        Raises:
            EventflowError: it cannot be decrypted with the key in force.
        """
        what = "a forwarder"
        headers = recorded["headers"].items()

        return cls(
            Hidden.restored(recorded["url"], what),
            tuple((name, Hidden.restored(value, what)) for name, value in headers),
        )


def is_redis(url: str) -> bool:
    """Return whether a URL is one of Redis."""
    return url.startswith(("redis://", "rediss://"))


def read_endpoint(url: str | SecretStr, headers: Mapping[str, str | SecretStr] | None) -> Endpoint:
    """Read what `forward` was given.

    Raises:
        TypeError: the URL or a header is no text.
        ValueError: it is no http URL and no variable, or a header cannot be sent.
    """
    target = Hidden(_secret("The URL of forward(...)", url))
    text = target.text.get_secret_value()
    if target.variable is None and not (_URL.fullmatch(text) or _REDIS.fullmatch(text)):
        # Not shown: it may be a URL that lacks a part, or has one with a space in it.
        raise ValueError(
            "The URL of forward(...) must begin with 'https://' or 'http://' and a host, name a "
            "stream, as 'redis://localhost/0?stream=events', or be the variable that holds one, "
            "such as 'env:EVENTS_URL'; it is none of these."
        )
    if headers and is_redis(text):
        raise ValueError("A stream of Redis takes no headers; its URL holds user and password.")
    read = []
    for name, value in (headers or {}).items():
        if not _NAME.fullmatch(name) or name.lower() in _OWN_HEADERS:
            own = ", ".join(sorted(_OWN_HEADERS))
            raise ValueError(f"A header must have a usual name, and none of {own}; not {name!r}.")
        read.append((name, Hidden(_secret(f"The header {name} of forward(...)", value))))

    return Endpoint(target, tuple(read))


def _secret(what: str, given: object) -> SecretStr:
    text = given.get_secret_value() if isinstance(given, SecretStr) else given
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a string, but is of type {type(given).__name__}.")
    if not text.isprintable() or not text.isascii():
        raise ValueError(f"{what} must be of printable ASCII characters.")

    return SecretStr(text)
