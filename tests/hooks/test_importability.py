"""Which hooks another process can import, and why the others cannot be."""

from __future__ import annotations

import sys
from functools import partial
from types import ModuleType
from typing import Any
from unittest.mock import AsyncMock, MagicMock, Mock

import pytest

from eventflow import Hook, flow, task
from eventflow.hooks.importability import reference_of, unreachable


def top(*_: Any) -> None:
    """Be a function at the top level of a module."""


class Kind:
    """Something that hooks may belong to."""

    def method(self, *_: Any) -> None:
        """Be bound to an object."""

    @classmethod
    def of_class(cls, *_: Any) -> None:
        """Be bound to a class."""

    @staticmethod
    def static(*_: Any) -> None:
        """Be bound to nothing."""

    def __call__(self, *_: Any) -> None:
        """Be an object that is called."""


class Derived(Kind):
    """One that inherits them."""


@task
def a_task(*_: Any) -> None:
    """Be a function that a definition stands for."""


@flow
def a_flow() -> None:
    """Be a flow."""


def inner() -> Any:
    def within(*_: Any) -> None: ...

    return within


replaced = top


@pytest.mark.parametrize("fn", [top, Kind.of_class, Kind.static, Kind, print, a_task.fn])
def test_what_stands_in_a_module_can_be_imported(fn: Any) -> None:
    """Functions, also of classes, and builtins."""
    assert unreachable(Hook(fn)) is None


@pytest.mark.parametrize(
    ("fn", "why"),
    [
        (partial(top), "is a partial"),
        (Kind().method, "is bound to an object"),
        ([].append, "is bound to an object"),
        (Kind(), "is an object of Kind"),
        (Mock(), "is an object of Mock"),
        (MagicMock(), "is an object of MagicMock"),
        (AsyncMock(), "is an object of AsyncMock"),
        (lambda *_: None, "is a lambda"),
        (inner(), "is defined within a function"),
        (Derived.of_class, "is not what"),
    ],
)
def test_what_does_not_is_said_with_the_reason(fn: Any, why: str) -> None:
    """In words that follow `It`."""
    assert str(unreachable(Hook(fn))).startswith(why)


def test_what_its_module_does_not_have_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another function took its name; the module is gone; there never was a file."""

    def other(*_: Any) -> None: ...

    other.__qualname__ = "top"
    assert str(unreachable(Hook(other))) == f"is not what {__name__}:top stands for"
    other.__qualname__ = "nothing.there"
    assert "is not what" in str(unreachable(Hook(other, id="again")))
    other.__module__ = "gone"
    assert "the module 'gone', which cannot be imported" in str(unreachable(Hook(other, id="x")))
    other.__module__, other.__qualname__ = "__main__", "other"
    main = ModuleType("__main__")
    main.other = other  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert "an interactive session" in str(unreachable(Hook(other, id="y")))
    main.__file__ = "/srv/etl.py"
    assert unreachable(Hook(other, id="z")) is None


def test_a_definition_is_named_where_it_stands() -> None:
    """Or, where no variable of a module holds it, by what its function is called."""
    assert reference_of(a_flow) == f"{__name__}:a_flow"
    assert reference_of(a_flow.with_options(name="other")).startswith(f"{__name__}:a_flow#")
    assert reference_of(flow(inner())).startswith(f"{__name__}:inner.<locals>.within#")
