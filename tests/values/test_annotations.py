"""What is said of an annotation is true of its values."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import pytest
from pydantic import Field, HttpUrl, SecretStr
from typing_extensions import TypedDict

from eventflow.settings import EVENTFLOW_MASK_SECRETS, temporary_settings
from eventflow.values.annotations import parameter_problem
from tests.values import kinds


class Client:
    """Cannot be recorded."""


class Named(Protocol):
    """May be anything."""

    name: str


class Options(TypedDict):
    """A dict."""

    day: dt.date


@pytest.mark.parametrize(
    "annotation",
    [
        *(int, str | None, bool | None, list[Path], dict[str, tuple[Decimal, ...]], Any),
        *(Literal["a"], Annotated[int, Field(gt=0)], dt.datetime, HttpUrl, Named, Options),
        *(Sequence[int], Mapping[str, Any], Iterable[str], object, kinds.Colour, kinds.Point),
        *(kinds.Pair, kinds.Order, kinds.Numbers, "not resolved", 5),
    ],
)
def test_no_problem(annotation: Any) -> None:
    """Of what is recorded, and of what may be."""
    assert parameter_problem("day", annotation) is None


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        (Client, "test_annotations.Client cannot be recorded"),
        (list[Client] | None, "test_annotations.Client cannot be recorded"),
        (Iterator[int], "a Iterator cannot be recorded"),
        (Generator[int, None, None], "a Generator cannot be recorded"),
        (Callable[[], int], "a Callable cannot be recorded"),
        (dict[str, SecretStr], "it asks for a secret"),
        (kinds.Warehouse, "it asks for a secret"),
        (kinds.Login, "its password is called like a secret"),
        (kinds.Words, "kinds.Words cannot be recorded"),
    ],
)
def test_a_problem(annotation: Any, why: str) -> None:
    """Anywhere within it."""
    assert why in (parameter_problem("day", annotation) or "")


def test_a_name_of_a_secret() -> None:
    """As long as such are masked."""
    assert parameter_problem("api_token", str) == "it is called like a secret, and is masked"
    with temporary_settings({EVENTFLOW_MASK_SECRETS: False}):
        assert parameter_problem("api_token", str) is None
