"""Which hooks another process can import, and why the others cannot be."""

from __future__ import annotations

import builtins
import inspect
import sys
from functools import partial
from types import ModuleType
from typing import Any
from unittest.mock import AsyncMock, MagicMock, Mock

import pytest

from eventflow import Hook, flow, logs, task
from eventflow.hooks.importability import import_problem


def top(*_: Any) -> None:
    """Be a function at the top level of a module."""


class Kind:
    """Something that hooks may belong to."""

    def method(self, *_: Any) -> None:
        """Be bound to an object."""

    @classmethod
    def of_class(cls, *_: Any) -> None:
        """Be bound to a class."""

    def __init__(self, *_: Any) -> None:
        """Be made of anything."""

    @staticmethod
    def static(*_: Any) -> None:
        """Be bound to nothing."""

    def __call__(self, *_: Any) -> None:
        """Be an object that is called."""


class Derived(Kind):
    """One that inherits them."""


@task
def a_task(*_: Any) -> None:
    """Be the function of a definition."""


def inner() -> Any:
    def within(*_: Any) -> None: ...

    return within


@pytest.mark.parametrize("fn", [top, Kind.of_class, Kind.static, Kind, print, a_task.fn])
def test_a_function_of_a_module_can_be_imported(fn: Any) -> None:
    """At its top level or in a class, and so can builtins."""
    assert import_problem(Hook(fn)) is None


def test_print_can_be_imported_once_it_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flow with `log_prints` puts another function in its place, for good."""

    @flow(log_prints=True)
    def talkative() -> None: ...

    original = inspect.unwrap(print)
    monkeypatch.setattr(builtins, "print", original)
    monkeypatch.setattr(logs, "_print", [])
    talkative()
    assert builtins.print is not original
    assert import_problem(Hook(original)) is None


@pytest.mark.parametrize(
    ("fn", "why"),
    [
        (partial(top), "is a partial"),
        (Kind().method, "is bound to an object"),
        ({}.update, "is bound to an object"),
        (Kind(), "is an object of Kind"),
        (Mock(), "is an object of Mock"),
        (MagicMock(), "is an object of MagicMock"),
        (AsyncMock(), "is an object of AsyncMock"),
        (lambda *_: None, "is a lambda"),
        (inner(), "is defined within a function"),
        (Derived.of_class, "is not what"),
    ],
)
def test_other_hooks_have_a_reason(fn: Any, why: str) -> None:
    """As a phrase that continues "The hook ..."."""
    assert str(import_problem(Hook(fn))).startswith(why)


def test_a_function_that_its_module_does_not_have_cannot_be_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another function has its name, the module is not loaded, or it has no file."""

    def other(*_: Any) -> None: ...

    other.__qualname__ = "top"
    assert str(import_problem(Hook(other))) == f"is not what {__name__}:top stands for"
    other.__qualname__ = "nothing.there"
    assert "is not what" in str(import_problem(Hook(other, id="again")))
    other.__module__ = "gone"
    assert "the module 'gone', which cannot be imported" in str(import_problem(Hook(other, id="x")))
    other.__module__, other.__qualname__ = "__main__", "other"
    main = ModuleType("__main__")
    main.other = other  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert "an interactive session" in str(import_problem(Hook(other, id="y")))
    main.__file__ = "/srv/etl.py"
    assert import_problem(Hook(other, id="z")) is None
