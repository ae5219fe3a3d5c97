"""A page: its template, what that shows, and whether it may change by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

from eventflow.client.archive import Archive

__all__ = ["Page", "View", "not_found"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What to show: `template` extends the frame, `part` is what changes while it is open.

    `run_id` is the run that it is about, if it is about one; `settled` says that it shows nothing
    that may change.
    """

    template: str
    part: str
    title: str
    values: Mapping[str, Any]
    run_id: UUID | None = None
    settled: bool = False
    status: int = 200


View: TypeAlias = Callable[[Archive | None], Page]
"""Reads a page from the journal, or from nothing where there is none."""


def not_found(what: str) -> Page:
    """Return the page for what the journal does not hold."""
    values = {"what": what}

    return Page(
        template="not_found.html",
        part="not_found_part.html",
        title="Not found",
        values=values,
        settled=True,
        status=404,
    )
