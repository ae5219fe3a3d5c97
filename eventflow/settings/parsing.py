"""Parse the texts of settings: one function for each kind of value."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from eventflow.errors import HomeError

__all__ = [
    "at_least",
    "choice",
    "fernet_key",
    "flag",
    "folder",
    "host",
    "journal_url",
    "port",
    "positive",
    "served_at",
    "token",
    "web_url",
    "whole",
]

Choice = TypeVar("Choice", bound=str)


def choice(*options: Choice) -> Callable[[str], Choice]:
    """Read one of a few words, in any case."""
    known = {option.casefold(): option for option in options}

    def parse(text: str) -> Choice:
        if text.casefold() not in known:
            raise ValueError

        return known[text.casefold()]

    return parse


def flag(text: str) -> bool:
    """Read a boolean."""
    if text.casefold() in {"true", "1", "yes", "on"}:
        return True

    if text.casefold() in {"false", "0", "no", "off"}:
        return False

    raise ValueError


def folder(text: str) -> Path:
    """Read the path of a folder, made absolute; `~` is the user's home.

    Raises:
        HomeError: the user of a `~user` is not known.
    """
    if not text:
        raise ValueError

    expanded = os.path.expanduser(text)  # noqa: PTH111 - Path.expanduser raises RuntimeError
    if expanded.startswith("~"):
        raise HomeError(text, "there is no such user, or the user has no home folder")

    return Path(os.path.abspath(expanded))  # noqa: PTH100 - Path.absolute keeps `..` in place


def journal_url(text: str) -> str:
    """Read the address of a journal."""
    scheme, separator, rest = text.partition("://")
    fits = {
        "memory": rest == "",
        "sqlite": len(rest) > 1 and rest[0] == "/",
        "postgresql": rest != "",
    }
    if not separator or not fits.get(scheme.casefold(), False):
        raise ValueError

    return f"{scheme.casefold()}://{rest}"


def positive(text: str) -> float:
    """Read a number greater than 0."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError

    return number


def whole(text: str) -> int:
    """Read a whole number greater than 0."""
    number = int(text)
    if number <= 0:
        raise ValueError

    return number


def at_least(smallest: int) -> Callable[[str], int]:
    """Read a whole number that is not less than another."""

    def parse(text: str) -> int:
        number = whole(text)
        if number < smallest:
            raise ValueError

        return number

    return parse


def web_url(text: str) -> str:
    """Read a URL of the web, without a trailing slash."""
    parts = urlsplit(text)
    surplus = parts.query or parts.fragment or any(character.isspace() for character in text)
    # `urlsplit` checks nothing; reading the port validates it.
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0 or surplus:
        raise ValueError

    return text.rstrip("/")


def fernet_key(text: str) -> str | None:
    """Read a Fernet key: 32 bytes in base64."""
    if len(base64.b64decode(text, altchars=b"-_", validate=True)) != 32:  # noqa: PLR2004 - by Fernet's definition
        raise ValueError

    return text


def host(text: str) -> str:
    """Read the name or the address of a host."""
    if re.fullmatch(r"[0-9A-Za-z.-]+|\[?[0-9A-Fa-f:.]+\]?", text) is None:
        raise ValueError

    return text.strip("[]")


def port(text: str) -> int:
    """Read the number of a port, or 0 for any free one."""
    number = int(text)
    if not 0 <= number < 2**16:
        raise ValueError

    return number


def served_at(host: str, port: int) -> str:
    """Return the URL of what listens on a host and a port, as this host reaches it."""
    shown = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104 - only compared

    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def token(text: str) -> str | None:
    """Read a token that a header can have."""
    if re.fullmatch(r"[!-~]+", text) is None:
        raise ValueError

    return text
