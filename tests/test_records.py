"""Frozen records made without validation."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from eventflow.records import record


class Point(BaseModel):
    """Something to make."""

    model_config = ConfigDict(frozen=True)

    x: int
    y: int = 0


FIELDS = {"x", "y"}


def test_a_record_is_what_validation_would_have_made() -> None:
    """It is equal to a validated one, and has its JSON, its copies and its repr."""
    made, validated = record(Point, {"x": 1, "y": 2}, FIELDS), Point(x=1, y=2)
    assert made == validated
    assert made.model_dump_json() == validated.model_dump_json()
    assert made.model_dump(exclude_unset=True) == {"x": 1, "y": 2}
    assert made.model_copy(update={"y": 3}) == Point(x=1, y=3)
    assert repr(made) == repr(validated)
    assert hash(made) == hash(validated)


def test_a_record_is_frozen() -> None:
    """It cannot be changed, like any of its kind."""
    made = record(Point, {"x": 1, "y": 2}, FIELDS)
    with pytest.raises(ValidationError, match="frozen"):
        made.x = 5  # type: ignore[misc]


def test_copies_do_not_change_what_records_share() -> None:
    """A copy with one field more set leaves the shared set of fields as it was."""
    made = record(Point, {"x": 1, "y": 2}, FIELDS)
    made.model_copy(update={"z": 3})
    assert {"x", "y"} == FIELDS
