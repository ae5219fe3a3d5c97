"""SIGINT and SIGTERM while runs execute: never between a transition and its hooks.

A sync run has the signal raised in its body or hook, or once its engine has come to a pause. Async
runs have the task of the outermost one cancelled, which the engine's own work is shielded from.

The same signal again, while the first is being dealt with, ends the process at once. It is being
dealt with from its arrival until it has left the outermost run. A sync body that caught it and
has left its `except` block has dealt with it: the next one is a first one again, an hour later
or at once. An async body cannot be seen into: there, as in asyncio itself, the second ends it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any, Final

from eventflow.errors import TerminationSignal
from eventflow.interrupts.masks import WAKE, ThreadPhase, on_wake, thread_mask
from eventflow.interrupts.portals import running_loop

__all__ = ["cause", "guard", "notice"]


class _Watch:
    """How many outermost runs the main thread executes, and the handlers taken over for them."""

    __slots__ = ("arrived", "runs", "taken")

    def __init__(self) -> None:
        self.runs = 0
        self.taken: list[tuple[int, Any, Any]] = []
        self.arrived: dict[int, BaseException] = {}


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
    ending = bool(_watch.arrived) and _is_dealt_with(_watch.arrived.get(signal.SIGINT))
    _watch.arrived.clear()
    for signum, before, ours in _watch.taken:
        if _signal.getsignal(signum) is ours:
            last = ours is _on_again or (ending and before in _PLAIN)
            _signal.signal(signum, _on_last if last else before)


def _on_interrupt(signum: int, _frame: FrameType | None) -> None:
    _arrived(signum, KeyboardInterrupt())


def _on_terminate(signum: int, _frame: FrameType | None) -> None:
    _arrived(signum, TerminationSignal(signum))


def _on_last(signum: int, frame: FrameType | None) -> None:
    """Handle Ctrl-C after one that has ended a run: in the midst of exiting, end at once."""
    exiting = getattr(threading, "_SHUTTING_DOWN", False)
    if exiting or not threading.main_thread().is_alive():
        _end(signum)
    signal.default_int_handler(signum, frame)


_PLAIN: Final = (signal.default_int_handler, _on_last)

# SIGINT comes last: once its own handler is back, nothing is left to be done.
_HANDLERS: Final = (
    *(() if WAKE is None else ((WAKE, on_wake, (signal.SIG_DFL, signal.SIG_IGN)),)),
    (signal.SIGTERM, _on_terminate, (signal.SIG_DFL,)),
    (signal.SIGINT, _on_interrupt, _PLAIN),
)


def notice() -> None:
    """See whether a cancellation is asyncio's answer to Ctrl-C: then the next one is the end."""
    if threading.current_thread() is not threading.main_thread():
        return
    before = _signal.getsignal(signal.SIGINT)
    runner = getattr(before.func, "__self__", None) if type(before) is partial else None
    # Its own count, which is private: without it the next one is asyncio's again, and no worse.
    if _watch.runs and getattr(runner, "_interrupt_count", 0):
        _signal.signal(signal.SIGINT, _on_again)
        _watch.taken.append((signal.SIGINT, before, _on_again))


def _on_again(signum: int, _frame: FrameType | None) -> None:
    _end(signum)


def _arrived(signum: int, error: BaseException) -> None:
    here = thread_mask()
    if _is_dealt_with(_watch.arrived.get(signum)):
        _end(signum)
    ending = any(map(_is_dealt_with, _watch.arrived.values()))
    _watch.arrived[signum] = error
    if here.phase is ThreadPhase.ENGINE or (ending and here.phase is ThreadPhase.HOOK):
        here.defer(error)
    elif here.phase is ThreadPhase.LOOP and here.tasks and running_loop() is not None:
        here.cancel_tasks(error)
    else:
        if here.phase is ThreadPhase.HOOK:
            here.dealing = error  # kept until the other hooks have run
        raise error


def _is_dealt_with(error: BaseException | None) -> bool:
    """Say whether what a signal has raised, or is going to, is still on its way."""
    if error is None:
        return False
    here = thread_mask()
    if error is here.deferred or error in here.tasks.values():
        return True

    return error in (*_chain(here.dealing), *_chain(sys.exception()))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Go through an exception and those that were being handled when it was raised."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__context__


def _end(signum: int) -> None:
    """End the process as the signal does where nobody handles it; the guardian goes on."""
    signal.signal(signum, signal.SIG_DFL)
    signal.raise_signal(signum)


def cause(error: BaseException) -> BaseException:
    """See through a cancellation of this task that stands for a signal."""
    if not isinstance(error, asyncio.CancelledError):
        return error
    notice()
    task = asyncio.current_task()

    return (thread_mask().tasks.get(task) if task is not None else None) or error
