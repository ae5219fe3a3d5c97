"""The generated part of a page is replaced; the rest of it stays as it is."""

from __future__ import annotations

import pytest

from benchmarks.page import NoMarkers, replaced

PAGE = "before\n<!-- begin: a -->\nold\n<!-- end: a -->\nafter <!-- begin: b --><!-- end: b -->\n"


def test_the_part_is_replaced_and_nothing_else() -> None:
    page = replaced(PAGE, "a", "new \\1\n")
    assert page == PAGE.replace("\nold\n", "\n\nnew \\1\n\n")
    assert replaced(page, "a", "new \\1") == page


@pytest.mark.parametrize("page", ["", PAGE + PAGE, PAGE.replace("end: a", "end: c")])
def test_there_must_be_one_such_part(page: str) -> None:
    with pytest.raises(NoMarkers, match="begin: a"):
        replaced(page, "a", "new")
