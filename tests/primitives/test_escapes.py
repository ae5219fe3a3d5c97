"""Control characters are shown, and do nothing."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from eventflow.primitives.escapes import CONTROLS, escaped, escaped_json, escaped_line


def test_what_is_escaped_in_a_line() -> None:
    """Sequences for terminals, ends of lines, and marks that reverse the direction of writing."""
    assert escaped_line("a\x1b]0;owned\x07\x9bm\n\r\tb") == r"a\x1b]0;owned\x07\x9bm\n\r\tb"
    assert escaped_line("gpj\u202eexe\u2028\u2069") == r"gpj\u202eexe\u2028\u2069"
    assert escaped_line("no XML\ufffe\uffff") == r"no XML\ufffe\uffff"
    assert escaped_line("Grüße, 世界 🎉") == "Grüße, 世界 🎉"


def test_a_text_of_several_lines_keeps_them() -> None:
    """A traceback stays readable."""
    assert escaped("a\n\tb\r\x1b[2J") == "a\n\tb\\r\\x1b[2J"


@given(st.text())
def test_escaped_json_is_the_same_document(text: str) -> None:
    """What is escaped in JSON is read back unchanged, and nothing of it reaches a terminal."""
    shown = escaped_json(json.dumps(text, ensure_ascii=False))
    assert json.loads(shown) == text
    assert not CONTROLS.search(shown)
