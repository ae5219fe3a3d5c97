"""Texts can be written wherever text is, whatever they were made of."""

from __future__ import annotations

from eventflow.primitives.texts import printable


def test_what_cannot_be_encoded_is_escaped() -> None:
    """Undecodable bytes, as of a file's name, become escapes; other text is not changed."""
    assert printable("plain") == "plain"
    assert printable("caf\u00e9") == "caf\u00e9"
    assert printable("bad \udcff name") == "bad \\udcff name"
