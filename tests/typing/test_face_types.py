"""What type checkers know of the face, whose names are loaded on their first use."""

from __future__ import annotations

from typing import assert_type

import pytest

import eventflow
from eventflow import Flow, State


def test_names() -> None:
    """Each has the type that it has in its module."""

    @eventflow.flow
    def number() -> int:
        return 1

    assert_type(number, Flow[[], int])
    assert eventflow.State is State


def test_another_name_is_an_error() -> None:
    """`Any` would hide a slip of the pen."""
    with pytest.raises(AttributeError):
        eventflow.flwo  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]  # noqa: B018
