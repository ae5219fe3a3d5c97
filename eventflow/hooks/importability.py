"""Whether another process can find a definition or a hook again, and why not."""

from __future__ import annotations

import inspect
import linecache
import sys
from functools import partial
from types import FrameType, MethodType, ModuleType
from typing import Any, Final

from eventflow.hooks.declaration import Hook
from eventflow.hooks.references import refer
from eventflow.primitives.callables import MAIN

__all__ = ["note_call", "reference_of", "unreachable"]

_called: Final[list[int]] = []
"""The line of the program in which it called its first flow or task, if it was the program."""


def note_call() -> None:
    """Note where the program calls its first flow or task: loaded again, it gets no further."""
    program = sys.modules.get(MAIN)
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - there is no other way to the caller
    while frame is not None and not _called:
        if frame.f_code.co_name == "<module>" and program and frame.f_globals is vars(program):
            _called.append(frame.f_lineno)
        frame = frame.f_back


def reference_of(definition: Any) -> str:
    """Name where a definition can be found again; see `eventflow.hooks.references`."""
    return refer(definition).text


def unreachable(hook: Hook) -> str | None:
    """Say why another process could not import a hook's function; None if it can.

    Such a hook is handed to the guardian by value, and does not survive a reboot.
    """
    fn: Any = hook.fn
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

    return _not_there(fn, name)


def _not_there(fn: Any, name: str) -> str | None:
    module = sys.modules.get(fn.__module__)
    if module is None:
        return f"is of the module {fn.__module__!r}, which cannot be imported"
    beyond = _beyond(fn, module) if fn.__module__ == MAIN else None
    if beyond is not None:
        return beyond
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    # Not by `==`: it may be a mock. A definition stands where its function stood.
    if found is fn or getattr(found, "fn", None) is fn or _is_same_method(found, fn):
        return None

    return f"is not what {fn.__module__}:{name} stands for"


def _beyond(fn: Any, program: ModuleType) -> str | None:
    """Say why the program, when it is loaded again, does not come to a function of its own."""
    file = getattr(program, "__file__", None)
    if not isinstance(file, str) or file.startswith("<"):
        return "is defined in an interactive session, which no other process can load"
    function = inspect.unwrap(fn)
    if getattr(function, "__globals__", None) is not vars(program):
        return None
    line = function.__code__.co_firstlineno
    if _called and line > _called[0]:
        return (
            "is defined below the program's first call of a flow or task, which is as far as it is "
            "loaded again: call it under `if __name__ == '__main__':`"
        )
    if "." not in fn.__qualname__ and linecache.getline(file, line, vars(program))[:1].isspace():
        return "is defined in a block, as under `if __name__ == '__main__':`: move it out of there"

    return None


def _is_same_method(found: Any, fn: Any) -> bool:
    """Say whether both are one method of one class, which is bound anew each time."""
    if not isinstance(found, MethodType) or not isinstance(fn, MethodType):
        return False

    return found.__func__ is fn.__func__ and found.__self__ is fn.__self__
