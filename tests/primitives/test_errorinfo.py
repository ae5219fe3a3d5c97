"""What is kept of an exception."""

from __future__ import annotations

from eventflow.primitives.errorinfo import TRACEBACK_LIMIT, ErrorInfo, printable


def test_an_error_is_described_by_plain_data() -> None:
    """Type, message and the traceback's end are kept."""

    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not even this")

    try:
        raise ValueError("x" * 20_000)
    except ValueError as error:
        info = ErrorInfo.of(error)

    assert info.type == "ValueError"
    assert len(info.traceback) == TRACEBACK_LIMIT
    assert str(ErrorInfo.of(ValueError())) == "ValueError"
    assert str(ErrorInfo.of(ValueError("v"))) == "ValueError: v"
    assert ErrorInfo.of(Odd()).type.endswith("Odd")
    assert ErrorInfo.of(Odd()).message == "<its text is not available: RuntimeError>"


def test_what_no_encoding_has_is_escaped() -> None:
    """Undecodable bytes, as of a file's name, become escapes; all else stays as it is."""
    assert printable("plain") == "plain"
    assert printable("caf\u00e9") == "caf\u00e9"
    assert printable("bad \udcff name") == "bad \\udcff name"
