"""Callables: their names, what they can be called with, which are async, and which awaited."""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

__all__ = [
    "MAIN",
    "MP_MAIN",
    "check_takes",
    "is_async",
    "plain_function",
    "qualified_name",
    "refuse_await",
]

MAIN: Final = "__main__"
"""The name of the module that a process was started with."""

MP_MAIN: Final = "__mp_main__"
"""The name under which multiprocessing, and recovery, load another process's `__main__`."""


def is_async(function: object) -> bool:
    """Return whether calling this returns an awaitable; looks through partials and objects."""
    while isinstance(function, partial):
        function = function.func
    # `__call__` of a flow or a task is a plain function; its attribute tells.
    if getattr(function, "isasync", None) is True:
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


def plain_function(function: Any) -> Any:
    """Return the function that a callable is in the end, which holds its annotations and code."""
    while isinstance(function, partial):
        function = function.func
    function = getattr(function, "__func__", function)
    if not hasattr(function, "__annotations__") and not isinstance(function, type):
        function = type(function).__call__

    return inspect.unwrap(function)


def check_takes(what: str, function: object, arguments: Sequence[str]) -> None:
    """Check that a callable takes so many positional arguments, as far as its signature tells.

    Raises:
        TypeError: it is not callable, or its signature takes fewer of them, or others as well.
    """
    listed = ", ".join(arguments)
    if not callable(function):
        raise TypeError(f"A {what} must be callable, but got {function!r}.")
    try:
        # Not what is behind `functools.wraps`: the wrapper is called, and may pass on anything.
        signature = inspect.signature(function, follow_wrapped=False, **_UNEVALUATED)
    except Exception:  # noqa: BLE001 - many builtins have none; a user's own may do anything
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise TypeError(
            f"The {what} {qualified_name(function)}{_shown(signature)} cannot be called with "
            f"({listed}): {error}. A {what} takes {len(arguments)} positional argument"
            f"{'' if len(arguments) == 1 else 's'}, as in: def {_name(function)}({listed})."
        ) from None


def _name(function: object) -> str:
    name = qualified_name(function).rpartition(".")[2].rpartition(":")[2]

    return name if name.isidentifier() else "it"


def _shown(signature: inspect.Signature) -> str:
    """Return a signature without annotations and values, which may be long, or not to be shown."""
    empty = inspect.Parameter.empty
    parameters = [
        parameter.replace(
            annotation=empty, default=empty if parameter.default is empty else _Dots()
        )
        for parameter in signature.parameters.values()
    ]

    return str(inspect.Signature(parameters))


def refuse_await(result: object, call: str, instead: str = "") -> None:
    """Say that a call is a plain one if the caller's caller awaits its result.

    `call` is what it calls, `instead` what it may write to await it. A result that can be awaited
    is left alone. What Python would say of others names neither.

    Raises:
        TypeError: the next thing that the caller's caller does is to await the result.
    """
    frame = sys._getframe(1).f_back  # noqa: SLF001 - documented, and there is no other way
    if frame is None or not frame.f_code.co_flags & _ASYNC:
        return
    code, at = frame.f_code.co_code, frame.f_lasti + 2
    while code[at] == _CACHE:
        at += 2
    if code[at] == _AWAIT and not inspect.isawaitable(result):
        other = f", or {instead}" if instead else ""
        raise TypeError(f"{call} gives its result without `await`: leave the `await` out{other}.")


_ASYNC: Final = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_CACHE: Final = dis.opmap["CACHE"]
_AWAIT: Final = dis.opmap["GET_AWAITABLE"]


class _Dots:
    def __repr__(self) -> str:
        return "..."


# From Python 3.14 on, annotations are evaluated when they are read, which may fail.
_UNEVALUATED: Final[dict[str, Any]] = {}
if sys.version_info >= (3, 14):
    import annotationlib

    _UNEVALUATED["annotation_format"] = annotationlib.Format.FORWARDREF
