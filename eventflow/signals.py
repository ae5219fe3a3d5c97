"""SIGINT and SIGTERM while runs execute: never between a transition and its hooks.

A sync run has the signal raised in its body or hook, or once its engine has come to a pause. Async
runs have the task of the outermost one cancelled, which the engine's own work is shielded from.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import asyncio
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from eventflow.errors import TerminationSignal
from eventflow.gates import WAKE, Inside, gate, on_wake
from eventflow.portal import running_loop

__all__ = ["cause", "guard"]


class _Watch:
    """How many outermost runs the main thread executes, and the handlers taken over for them."""

    __slots__ = ("runs", "taken")

    def __init__(self) -> None:
        self.runs = 0
        self.taken: list[tuple[int, Any, Any]] = []


_watch: Final = _Watch()


def guard() -> Callable[[], None] | None:
    """Take over SIGINT and SIGTERM for an outermost run, where the program left them alone.

    Gives what puts them back when the last such run has ended, or None outside the main thread,
    where there is nothing to take. Handlers of the program's own are left in their place.
    """
    if threading.current_thread() is not threading.main_thread():
        return None
    if not _watch.runs:
        _watch.taken = []
        # Not by the module `signal`, whose look-up of each handler in an enumeration costs more
        # than the rest of a run.
        for signum, ours, defaults in _HANDLERS:
            before = _signal.getsignal(signum)
            if before in defaults:
                _signal.signal(signum, ours)
                _watch.taken.append((signum, before, ours))
    _watch.runs += 1

    return _put_back


def _put_back() -> None:
    _watch.runs -= 1
    if _watch.runs or threading.current_thread() is not threading.main_thread():
        return
    for signum, before, ours in _watch.taken:
        if _signal.getsignal(signum) is ours:
            _signal.signal(signum, before)


def _on_interrupt(_signum: int, _frame: FrameType | None) -> None:
    _arrived(KeyboardInterrupt())


def _on_terminate(signum: int, _frame: FrameType | None) -> None:
    _arrived(TerminationSignal(signum))


# SIGINT comes last: once its own handler is back, nothing is left to be done.
_HANDLERS: Final = (
    *(() if WAKE is None else ((WAKE, on_wake, (signal.SIG_DFL, signal.SIG_IGN)),)),
    (signal.SIGTERM, _on_terminate, (signal.SIG_DFL,)),
    (signal.SIGINT, _on_interrupt, (signal.default_int_handler,)),
)


def _arrived(error: BaseException) -> None:
    here = gate()
    if here.inside is Inside.ENGINE:
        here.defer(error)
    elif here.inside is Inside.LOOP and here.tasks and running_loop() is not None:
        here.cancel_tasks(error)
    else:
        raise error


def cause(error: BaseException) -> BaseException:
    """See through a cancellation of this task that stands for a signal."""
    if not isinstance(error, asyncio.CancelledError):
        return error
    task = asyncio.current_task()

    return (gate().tasks.get(task) if task is not None else None) or error
