"""Interrupts at an exact place: something else happens between two instructions of a function."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

__all__ = ["Interruption", "interrupted"]


class Interruption:
    """Whether the function got as far as the instruction it was to be interrupted at."""

    happened = False


@contextmanager
def interrupted(
    function: Callable[..., object],
    place: int,
    action: Callable[[], object],
    *,
    after_calls: bool = False,
) -> Iterator[Interruption]:
    """Call `action` once, before the instruction number `place` that a function executes.

    As a signal handler or a finalizer would, in the same thread; what it raises is raised there.
    With `after_calls` only those count that follow a call: only there the interpreter itself has
    signal handlers raise an exception.
    """
    code: CodeType = function.__code__
    interruption, remaining = Interruption(), place
    names = {instruction.offset: instruction.opname for instruction in dis.get_instructions(code)}
    last = ""

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal last, remaining
        if interruption.happened or frame.f_code is not code:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            counts, last = not after_calls or last.startswith("CALL"), names[frame.f_lasti]
            if counts and remaining == 0:
                interruption.happened = True
                action()
            remaining -= counts
        return trace

    before = sys.gettrace()
    # Python 3.12 traces instructions only if a frame has asked for it before.
    sys._getframe().f_trace_opcodes = True
    sys.settrace(trace)
    try:
        yield interruption
    finally:
        sys.settrace(before)
