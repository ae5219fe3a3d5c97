"""Types of users, for values that are recorded and restored."""

from __future__ import annotations

import datetime as dt
import operator
import sys
from dataclasses import dataclass, field
from enum import Enum, IntFlag, StrEnum
from typing import Any, NamedTuple

from pydantic import BaseModel, Field, PrivateAttr, RootModel, SecretStr, field_validator

from eventflow.values.recording import record_parameters
from eventflow.values.restoring import restore_parameters


class Colour(StrEnum):
    """A str that is an enum."""

    RED = "red"
    BLUE = "blue"


class Size(Enum):
    """Values that JSON has not."""

    SMALL = (1, 2)
    LARGE = object()


class Flags(IntFlag):
    """Members that have no name of their own."""

    ONE = 1
    TWO = 2


@dataclass(frozen=True, slots=True)
class Point:
    """A plain dataclass."""

    x: Any
    y: Any = None


@dataclass
class Derived:
    """A dataclass that computes a field."""

    base: int
    double: int = field(init=False)

    def __post_init__(self) -> None:
        self.double = self.base * 2


@dataclass
class Login:
    """A dataclass whose field is called like a secret."""

    user: str
    password: str


class Pair(NamedTuple):
    """A named tuple."""

    left: Any
    right: Any


class Order(BaseModel):
    """A model with what serialisation loses: an excluded field, an alias, keys that are no str."""

    number: int = Field(1, alias="orderNumber")
    hidden: Any = Field(default=None, exclude=True)
    lines: dict[int, Any] = {}


class Numbers(RootModel[list[int]]):
    """A model of one value."""


class Open(BaseModel, extra="allow"):
    """A model that takes anything."""


class Noted(BaseModel):
    """A model with a private attribute."""

    name: str
    _note: str = PrivateAttr(default="")


class Changing(BaseModel):
    """A model whose validation is not the same a second time."""

    text: str

    @field_validator("text")
    @classmethod
    def _longer(cls, text: str) -> str:
        return f"{text}!"


class Warehouse(BaseModel):
    """A model with a secret."""

    host: str
    code: SecretStr


class Words(list[str]):
    """A list of its own."""


class Texts(str):
    """A str of its own."""

    __slots__ = ()


class Moment(dt.datetime):
    """A datetime of its own."""


def find_type(name: str) -> object:
    """Find a type as recovery does."""
    module, _, path = name.partition(":")

    return operator.attrgetter(path)(sys.modules[module])


def restored(value: object) -> Any:
    """Record a value, and restore it."""
    return restore_parameters(record_parameters({"value": value}), find_type)["value"]
