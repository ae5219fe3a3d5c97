"""Safe points: where an exception may be raised in a thread so that it leaves no lock behind.

CPython raises an exception from outside where a function begins, where a loop goes round, and
behind a call. Behind a call may be just behind a lock that was taken, and where a function begins
may be just before it is given back. What the standard library takes without a step of Python in
between, or in a `with` or `try` of the same function, is given back. So:

- In the functions of the standard library that take locks, and in eventflow itself, an exception is
  raised only where a `with` or a `try` of the innermost function would handle it, and in `_WAITS`.
- In what the import system and weak references lock it is not raised at all: that is never long.
- It is not raised in a finalizer, which would swallow it, nor while a thread is being started.
- Everywhere else it is raised: a body of the user's can be stopped, also while it waits.

A lock that the user's own code takes without `with` is not known here.
"""

from __future__ import annotations

import ctypes
import dis
import gc
import sys
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FrameType
from typing import Final

__all__ = ["is_safe", "raise_at_safe_point", "raise_in_thread"]

_CAREFUL: Final = frozenset(
    {"asyncio", "concurrent", "contextlib", "eventflow", "logging", "queue", "threading"}
)
"""The modules, and packages, whose functions take locks."""

_LOCK_NAMES: Final = frozenset(
    {"_acquireLock", "_lock", "_releaseLock", "acquire", "lock", "release"}
)
"""The names by which the functions of `logging` use its locks; the others use none."""

_CLOSED: Final = frozenset({"_weakrefset", "weakref"})
"""The modules in which nothing is raised."""

_IMPORTS: Final = frozenset({"_frozen_importlib", "importlib"})
_IMPORT_LOCKS: Final = frozenset(
    {
        *("_BlockingOnManager", "_DummyModuleLock", "_ImportLockContext", "_KeyedRef"),
        *("_ModuleLock", "_ModuleLockManager", "_WeakValueDictionary"),
        *("_get_module_lock", "_lock_unlock_module"),
    }
)
"""The classes and functions of the import system that take its locks."""

_WAITS: Final = frozenset(
    {"Invocation.body", "Thread.join", "Thread._wait_for_tstate_lock", "closing.__exit__"}
)
"""Functions that wait for something in a call, and lose nothing when it is interrupted."""

_TO_COMPLETE: Final = frozenset(
    {
        "Handle._run",  # of asyncio, which would swallow the exception
        "ProcessPoolExecutor.submit",
        "Thread.start",
        "ThreadPoolExecutor.submit",
        "_GeneratorContextManager.__enter__",
    }
)
"""Functions that must not be left in the middle, even where they wait or would handle it."""

_BEGIN: Final = dis.opmap["RESUME"]
_HANDLER: Final = dis.opmap["PUSH_EXC_INFO"]
_RETURNS: Final = frozenset({"RETURN_VALUE", "RETURN_CONST", "RETURN_GENERATOR", "YIELD_VALUE"})
_CALLS: Final = frozenset({"BEFORE_WITH", "CALL", "CALL_FUNCTION_EX", "CALL_KW", "JUMP_BACKWARD"})

_UNKNOWN: Final = frozenset({"RAISE_VARARGS", "RERAISE", "SEND"})
"""After these it is not known what is executed."""

_IS_EXACT: Final = sys.version_info < (3, 13)
"""Whether a thread that waits for the interpreter raises the exception where it stands.

Since 3.13 it does so where it looks for one the next time.
"""


def _module(frame: FrameType) -> str:
    name = frame.f_globals.get("__name__")

    return name.partition(".")[0] if isinstance(name, str) else ""


def _takes_locks(frame: FrameType) -> bool:
    module, code = _module(frame), frame.f_code
    if module == "logging":
        return not _LOCK_NAMES.isdisjoint(code.co_names)

    return module in _CAREFUL or _is_closed(frame)


def _is_closed(frame: FrameType) -> bool:
    module = _module(frame)
    if module in _IMPORTS:
        return frame.f_code.co_qualname.partition(".")[0] in _IMPORT_LOCKS

    return module in _CLOSED


def is_safe(frame: FrameType | None) -> bool:
    """Return whether an exception that is raised in this frame, where it stands, leaves no lock."""
    if frame is None:
        return True
    if _takes_locks(frame) and not _is_handled(frame):
        return False
    # How it came here: through functions of these modules, up to the user's own.
    outer: FrameType | None = frame
    while outer is not None and _module(outer) in _CAREFUL:
        if outer.f_code.co_qualname in _TO_COMPLETE:
            return False
        outer = outer.f_back

    return not _is_finalizing(frame)


def _is_finalizing(frame: FrameType) -> bool:
    outer: FrameType | None = frame
    while outer is not None and _module(outer) != "eventflow":
        if outer.f_code.co_name == "__del__":
            return True
        outer = outer.f_back

    return False


def _is_handled(frame: FrameType) -> bool:
    code, at = frame.f_code, frame.f_lasti
    if _is_closed(frame):
        return False
    if code.co_qualname in _WAITS:
        return code.co_code[at] != _BEGIN

    return _handler(code, at) is not None


def _handler(code: CodeType, at: int) -> int | None:
    """Return the `with`, `except` or `finally` that an exception at this instruction gets to."""
    for start, end, target in _handlers(code):
        if start <= at < end:
            # Any other target only leaves a handler that is being executed already.
            return target if code.co_code[target] == _HANDLER else None

    return None


@lru_cache(maxsize=256)
def _handlers(code: CodeType) -> tuple[tuple[int, int, int], ...]:
    """Read the table of handlers of a code object, which CPython describes in its source.

    Each entry is four numbers of six bits a byte: start, length, target, and what is not needed.
    """
    numbers = list(_numbers(code.co_exceptiontable))
    entries = zip(numbers[::4], numbers[1::4], numbers[2::4], strict=True)

    return tuple((2 * start, 2 * (start + length), 2 * target) for start, length, target in entries)


def _numbers(table: bytes) -> Iterator[int]:
    number = 0
    for byte in table:
        number = number << 6 | byte & 63
        if not byte & 64:
            yield number
            number = 0


@lru_cache(maxsize=256)
def _instructions(code: CodeType) -> dict[int, tuple[dis.Instruction, int | None]]:
    """Return the instructions by their offset, each with the offset of the next one."""
    every = list(dis.get_instructions(code))
    following = [*(instruction.offset for instruction in every[1:]), None]

    return {one.offset: (one, after) for one, after in zip(every, following, strict=True)}


def _stays_safe(frame: FrameType) -> bool:
    """Return whether it is still safe where the thread looks for an exception the next time.

    It is not where a `with` ends before that: the function that gives its lock back may be Python.
    """
    every = _instructions(frame.f_code)
    start = every.get(frame.f_lasti)
    if start is None:
        return False
    takes_locks = _takes_locks(frame)
    to_visit, visited = _successors(start), set[int]()
    while to_visit:
        at = to_visit.pop()
        if at in visited:
            continue
        visited.add(at)
        name = every[at][0].opname
        if name in _CALLS:
            stays = not _ends_with(every, at)
            stays = stays and (not takes_locks or _handler(frame.f_code, at) is not None)
        elif name in _RETURNS:
            stays = _stays_safe_outside(frame)
        else:
            stays = name not in _UNKNOWN
            to_visit += _successors(every[at])
        if not stays:
            return False

    return True


def _successors(entry: tuple[dis.Instruction, int | None]) -> list[int]:
    instruction, after = entry
    target = instruction.argval if instruction.opcode in dis.hasjrel else None
    unconditional = instruction.opname.startswith("JUMP")

    return [at for at in (target, None if unconditional else after) if at is not None]


def _ends_with(every: dict[int, tuple[dis.Instruction, int | None]], at: int) -> bool:
    """Return whether a call is that of `__exit__` at the end of a `with`: it is passed 3 Nones."""
    before = [one for one, _ in every.values() if one.offset < at][-3:]

    return all(one.opname == "LOAD_CONST" and one.argval is None for one in before)


def _stays_safe_outside(frame: FrameType) -> bool:
    outer = frame.f_back
    if outer is None or _module(outer) == "eventflow":  # the engine, which expects it anywhere
        return True

    return not _takes_locks(outer) and _stays_safe(outer)


_COLLECTS_ANYWHERE: Final = sys.version_info < (3, 12)
"""Whether garbage may be collected while CPython makes the list of frames.

It holds the lock of all threads then; a `threading.local` that is collected asks for it as well,
and the process stands still.
"""


def raise_in_thread(ident: int, error: type[BaseException]) -> None:
    """Raise an exception in a thread, wherever it is then."""
    _set_async_exc(ctypes.c_ulong(ident), ctypes.py_object(error))


def raise_at_safe_point(ident: int, error: type[BaseException], *, is_urgent: bool) -> bool:
    """Raise an exception in another thread if that is at a safe point; return whether it is.

    Since Python 3.13 it is raised a step later. Unless it `is_urgent`, that has to be safe too.
    """
    if not _COLLECTS_ANYWHERE or not gc.isenabled():
        return _raise_if_safe(ident, error, is_urgent=is_urgent)
    gc.disable()
    try:
        return _raise_if_safe(ident, error, is_urgent=is_urgent)
    finally:
        gc.enable()


def _raise_if_safe(ident: int, error: type[BaseException], *, is_urgent: bool) -> bool:
    frame = sys._current_frames().get(ident)  # noqa: SLF001 - documented, though
    if frame is None:
        return True
    at = frame.f_lasti
    if not is_safe(frame) or not (_IS_EXACT or is_urgent or _stays_safe(frame)):
        return False
    thread, raised = ctypes.c_ulong(ident), ctypes.py_object(error)
    # CPython switches threads behind calls, and there is none from this look to the other call:
    # the iterator's own call of `_current_frames` is not followed by a check.
    for frames in _frames_now:
        if frames[ident] is frame and frame.f_lasti == at:
            _set_async_exc(thread, raised)
            return True
        break

    return False


_set_async_exc: Final = ctypes.pythonapi.PyThreadState_SetAsyncExc
_frames_now: Final[Iterator[dict[int, FrameType]]] = iter(
    sys._current_frames,  # noqa: SLF001 - documented, though
    None,
)
