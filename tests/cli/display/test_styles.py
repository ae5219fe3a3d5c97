"""Texts of one line."""

from __future__ import annotations

from rich.text import Text

from eventflow.cli.display.styles import escaped_text, first_line


def test_an_escaped_text_keeps_its_styles() -> None:
    """Each part has the colour that it had, also where it became longer."""
    text = Text.assemble(("a\x1bb", "red"), ("\nc", "blue"))
    shown = escaped_text(text)
    assert shown.plain == r"a\x1bb\nc"
    parts = [shown.plain[span.start : span.end] for span in shown.spans if span.style == "blue"]
    assert "".join(parts).endswith("c")
    plain = Text("plain", "red")
    assert escaped_text(plain) is plain


def test_a_first_line_is_escaped_and_cut() -> None:
    """What follows is left out, and that is shown."""
    assert first_line("a\x1b[2J\nb") == r"a\x1b[2J…"
    assert first_line("abc", 2) == "ab…"
    assert first_line("") == ""
