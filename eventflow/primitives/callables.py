"""Callables: their qualified names, and whether calling one returns an awaitable."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Final

__all__ = ["MAIN", "MP_MAIN", "is_async", "qualified_name"]

MAIN: Final = "__main__"
"""The name of the module that a process was started with."""

MP_MAIN: Final = "__mp_main__"
"""The name under which multiprocessing, and recovery, load another process's `__main__`."""


def is_async(function: object) -> bool:
    """Return whether calling this returns an awaitable; looks through partials and objects."""
    while isinstance(function, partial):
        function = function.func
    # `__call__` of a flow or a task is a plain function; its attribute tells.
    if getattr(function, "is_async", None) is True:
        return True

    if not callable(function):
        return False

    return _is_coroutine_function(function) or _is_coroutine_function(type(function).__call__)


def _is_coroutine_function(function: object) -> bool:
    # An AsyncMock has only the flags of a coroutine function; `inspect` of 3.11 wants a function.
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)

    return inspect.iscoroutinefunction(function) or flags == inspect.CO_COROUTINE


def qualified_name(function: object) -> str:
    """Return the name of a callable as `module:qualname`; looks through partials and objects."""
    while isinstance(function, partial):
        function = function.func
    if not isinstance(getattr(function, "__qualname__", None), str):
        function = type(function)
    module = getattr(function, "__module__", None) or "builtins"

    return f"{MAIN if module == MP_MAIN else module}:{getattr(function, '__qualname__', function)}"
