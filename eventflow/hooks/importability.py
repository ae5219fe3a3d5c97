"""Importability: whether another process can import a hook, and why not."""

from __future__ import annotations

import inspect
import linecache
import sys
from functools import partial
from types import FrameType, MethodType, ModuleType
from typing import Any, Final

from eventflow.hooks.configured import ConfiguredHook
from eventflow.hooks.declaration import Hook
from eventflow.primitives.callables import MAIN

__all__ = ["function_problem", "import_problem", "note_call"]

_first_call: Final[list[int]] = []
"""The line of `__main__` that called its first flow or task, if the call came from there."""


def note_call() -> None:
    """Note where `__main__` calls its first flow or task: reloading it stops there."""
    program = sys.modules.get(MAIN)
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - there is no other way to the caller
    while frame is not None and not _first_call:
        if frame.f_code.co_name == "<module>" and program and frame.f_globals is vars(program):
            _first_call.append(frame.f_lineno)
        frame = frame.f_back


def import_problem(hook: Hook) -> str | None:
    """Return why another process cannot import a hook's function; None if it can.

    A hook that cannot be imported is handed to the guardian by value, and does not survive a
    reboot.
    """
    return hook.fn.problem() if isinstance(hook.fn, ConfiguredHook) else function_problem(hook.fn)


def function_problem(fn: Any) -> str | None:
    """Return why another process cannot import a function; None if it can."""
    if isinstance(fn, partial):
        return "is a partial: give the hook a function of its own"
    if hasattr(fn, "__self__") and not isinstance(fn.__self__, type | ModuleType):
        return "is bound to an object, which lives in this process only"
    name = getattr(fn, "__qualname__", None)
    if not isinstance(name, str):
        return f"is an object of {type(fn).__qualname__}, which lives in this process only"
    if "<lambda>" in name:
        return "is a lambda: give it a name, at the top level of a module"
    if "<locals>" in name:
        return "is defined within a function: move it to the top level of a module"

    return _problem_in_module(fn, name)


def _problem_in_module(fn: Any, name: str) -> str | None:
    module = sys.modules.get(fn.__module__)
    if module is None:
        return f"is of the module {fn.__module__!r}, which cannot be imported"
    problem = _problem_in_main(fn, module) if fn.__module__ == MAIN else None
    if problem is not None:
        return problem
    value: Any = module
    for part in name.split("."):
        value = getattr(value, part, None)
    # Not by `==`: it may be a mock. A decorated function has been replaced by its definition.
    if value is fn or getattr(value, "fn", None) is fn or _is_same_method(value, fn):
        return None
    # `log_prints` puts a function of its own in the place of `print`.
    if fn.__module__ == "builtins" and getattr(value, "__wrapped__", None) is fn:
        return None

    return f"is not what {fn.__module__}:{name} stands for"


def _problem_in_main(fn: Any, program: ModuleType) -> str | None:
    """Return why reloading `__main__` does not define one of its functions again."""
    file = getattr(program, "__file__", None)
    if not isinstance(file, str) or file.startswith("<"):
        return "is defined in an interactive session, which no other process can load"
    function = inspect.unwrap(fn)
    if getattr(function, "__globals__", None) is not vars(program):
        return None
    line = function.__code__.co_firstlineno
    if _first_call and line > _first_call[0]:
        return (
            "is defined below the program's first call of a flow or task, which is as far as it is "
            "loaded again: call it under `if __name__ == '__main__':`"
        )
    if "." not in fn.__qualname__ and linecache.getline(file, line, vars(program))[:1].isspace():
        return "is defined in a block, as under `if __name__ == '__main__':`: move it out of there"

    return None


def _is_same_method(value: Any, fn: Any) -> bool:
    """Return whether both are one method of one class; each access to it makes a new object."""
    if not isinstance(value, MethodType) or not isinstance(fn, MethodType):
        return False

    return value.__func__ is fn.__func__ and value.__self__ is fn.__self__
