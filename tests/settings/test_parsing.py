"""Parsing settings: what each kind of value accepts, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflow.errors import HomeError
from eventflow.settings import parsing

KEY = "a" * 43 + "="
COLOUR = parsing.choice("red", "DarkBlue")

GOOD: list[tuple[Callable[[str], Any], str, Any]] = [
    (COLOUR, "RED", "red"),
    (COLOUR, "darkblue", "DarkBlue"),
    *((parsing.flag, text, True) for text in ("true", "1", "Yes", "ON")),
    *((parsing.flag, text, False) for text in ("false", "0", "No", "OFF")),
    (parsing.folder, "/srv/../home", Path("/home")),
    (parsing.folder, "folder", Path.cwd() / "folder"),
    (parsing.journal_url, "SQLITE:///srv/J.db", "sqlite:///srv/J.db"),
    (parsing.journal_url, "postgresql://U@host/DB", "postgresql://U@host/DB"),
    (parsing.journal_url, "Memory://", "memory://"),
    (parsing.positive, "0.5", 0.5),
    (parsing.positive, "1e300", 1e300),
    (parsing.whole, "12", 12),
    (parsing.web_url, "https://host:1/path//", "https://host:1/path"),
    (parsing.fernet_key, KEY, KEY),
]
BAD: list[tuple[Callable[[str], Any], str]] = [
    *((COLOUR, text) for text in ("", "blue", "red ")),
    *((parsing.flag, text) for text in ("", "2", "maybe")),
    (parsing.folder, ""),
    *((parsing.journal_url, text) for text in ("", "sqlite://", "sqlite:///", "sqlite://relative")),
    *((parsing.journal_url, text) for text in ("memory://x", "postgresql://", "mysql://x", "x")),
    *((parsing.positive, text) for text in ("", "0", "-1", "inf", "nan", "1 s")),
    *((parsing.whole, text) for text in ("", "0", "-1", "1.5", "1e3")),
    *((parsing.web_url, text) for text in ("", "host", "ftp://host", "http://", "http://h?q=1")),
    *((parsing.web_url, text) for text in ("http://h#f", "http://a b", "http://h:0", "http://h:x")),
    *((parsing.fernet_key, text) for text in ("", "a", "a" * 44, "!" * 44, "\udc80")),
]


@pytest.mark.parametrize(("parse", "text", "value"), GOOD)
def test_a_right_text_is_read(parse: Callable[[str], Any], text: str, value: object) -> None:
    """However it is written, its value has one form."""
    assert parse(text) == value


@pytest.mark.parametrize(("parse", "text"), BAD)
def test_a_wrong_text_is_refused(parse: Callable[[str], Any], text: str) -> None:
    """With a ValueError, which the setting replaces by one with its name."""
    with pytest.raises(ValueError):  # noqa: PT011 - what it says is for nobody
        parse(text)


def test_a_tilde_is_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the user; the home of an unknown user is an error of its own."""
    monkeypatch.setenv("HOME", "/home/me")
    assert parsing.folder("~/flows") == Path("/home/me/flows")
    with pytest.raises(HomeError, match="there is no such user"):
        parsing.folder("~nobody-of-that-name/flows")


@given(st.text())
def test_any_text_has_a_value_or_is_refused(text: str) -> None:
    """It is a value or a ValueError; the text of a value has the same value."""
    for parse in {parse for parse, _, _ in GOOD} - {parsing.folder}:
        try:
            value = parse(text)
        except ValueError:
            continue
        if isinstance(value, str):
            assert parse(value) == value
