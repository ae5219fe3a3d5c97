"""The generated parts of a page: the text between two markers is replaced, and nothing else."""

from __future__ import annotations

import re

__all__ = ["NoMarkers", "replaced"]


class NoMarkers(Exception):
    """The page has no part of that name, or more than one."""

    def __init__(self, part: str) -> None:
        super().__init__(
            f"The page must have one part <!-- begin: {part} --> ... <!-- end: {part} -->."
        )


def replaced(page: str, part: str, text: str) -> str:
    """Return the page with this text between the markers of a part.

    Raises:
        NoMarkers: there is not one such part.
    """
    begin, end = f"<!-- begin: {part} -->", f"<!-- end: {part} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if len(pattern.findall(page)) != 1:
        raise NoMarkers(part)

    return pattern.sub(lambda _: f"{begin}\n\n{text.strip()}\n\n{end}", page)
