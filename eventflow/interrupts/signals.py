"""SIGINT and SIGTERM while runs execute: never between a transition and its hooks.

In a sync run the signal's exception is raised in the body or hook, or once the engine is left.
Of async runs, the task of the outermost one is cancelled; the engine is shielded from that.

The same signal again, while the exception of the first is in flight, ends the process at once. It
is in flight from its arrival until it has left the outermost run. A sync body that has caught it
and has left the `except` block has handled it, and the next signal is a first one again. For an
async body that is not known: there, as in asyncio itself, the second signal ends the process.
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
from typing import Any, Final, Protocol
from weakref import WeakSet

from eventflow.errors import TerminationSignal
from eventflow.interrupts.masks import (
    WAKE_SIGNAL,
    ThreadPhase,
    on_wake,
    on_wake_signal,
    this_thread,
)
from eventflow.interrupts.portals import running_loop
from eventflow.interrupts.safe_points import is_safe
from eventflow.interrupts.swallowed import on_swallowed
from eventflow.primitives.texts import is_a

__all__ = ["cause", "guard", "note_asyncio_interrupt", "watchers"]


class SignalWatcher(Protocol):
    """Is told of signals that ask the process to end while runs execute."""

    def signal_received(self, number: int) -> None:
        """Take note of a signal; called by its handler, in the main thread."""
        ...


watchers: Final[WeakSet[SignalWatcher]] = WeakSet()
"""What is told of such signals."""


class _State:
    """The outermost runs that began in the main thread, and the handlers replaced for them."""

    __slots__ = ("received", "replaced", "runs")

    def __init__(self) -> None:
        # One item for each. They may end in any thread: a list changes at once, a number does not.
        self.runs: list[None] = []
        self.replaced: list[tuple[int, Any, Any]] = []
        self.received: dict[int, BaseException] = {}


_state: Final = _State()


def guard() -> Callable[[], None] | None:
    """Handle SIGINT and SIGTERM for an outermost run, where they have their default handlers.

    Return what restores those when the last such run has ended; None outside the main thread,
    which handles no signals. Handlers of the program's own are not replaced.
    """
    if threading.current_thread() is not threading.main_thread():
        return None
    if not _state.runs:
        # Not by the module `signal`, whose look-up of each handler in an enumeration costs more
        # than the rest of a run.
        for signum, ours, defaults in _HANDLERS:
            before = _signal.getsignal(signum)
            if before in defaults:
                _signal.signal(signum, ours)
                _state.replaced.append((signum, before, ours))
    _state.runs.append(None)

    return _end_run


def _end_run() -> None:
    _state.runs.pop()
    if _state.runs:
        return
    if threading.current_thread() is threading.main_thread():
        _restore()
    elif WAKE_SIGNAL is not None:
        # Only the main thread may change handlers. Without ours, it does so after its next run.
        main = threading.main_thread().ident
        if _signal.getsignal(WAKE_SIGNAL) is on_wake_signal and main is not None:
            signal.pthread_kill(main, WAKE_SIGNAL)


def _restore() -> None:
    """Give the program its handlers back, unless a run is executed."""
    if _state.runs:
        return
    interrupted = bool(_state.received) and _is_in_flight(_state.received.get(signal.SIGINT))
    _state.received.clear()
    for signum, before, ours in _state.replaced:
        if _signal.getsignal(signum) is ours:
            is_last = ours is _on_second or (interrupted and before in _DEFAULTS)
            _signal.signal(signum, _on_interrupt_at_exit if is_last else before)
    _state.replaced.clear()


on_wake(_restore)


def _on_interrupt(signum: int, frame: FrameType | None) -> None:
    _on_signal(signum, frame, KeyboardInterrupt())


def _on_terminate(signum: int, frame: FrameType | None) -> None:
    _on_signal(signum, frame, TerminationSignal(signum))


def _on_interrupt_at_exit(signum: int, frame: FrameType | None) -> None:
    """Handle Ctrl-C after one that has ended a run: end the process at once if it is exiting."""
    exiting = getattr(threading, "_SHUTTING_DOWN", False)
    if exiting or not threading.main_thread().is_alive():
        _end_process(signum)
    signal.default_int_handler(signum, frame)


_DEFAULTS: Final = (signal.default_int_handler, _on_interrupt_at_exit)

# SIGINT comes last: once its own handler is restored, nothing else is left to do.
_HANDLERS: Final = (
    *(
        ()
        if WAKE_SIGNAL is None
        else ((WAKE_SIGNAL, on_wake_signal, (signal.SIG_DFL, signal.SIG_IGN)),)
    ),
    (signal.SIGTERM, _on_terminate, (signal.SIG_DFL,)),
    (signal.SIGINT, _on_interrupt, _DEFAULTS),
)


def note_asyncio_interrupt() -> None:
    """Have the next Ctrl-C end the process if asyncio has cancelled the task for a first one."""
    if threading.current_thread() is not threading.main_thread():
        return
    before = _signal.getsignal(signal.SIGINT)
    runner = getattr(before.func, "__self__", None) if type(before) is partial else None
    # asyncio's count is private; without it, asyncio handles the next Ctrl-C as well.
    count: int = getattr(runner, "_interrupt_count", 0)
    if _state.runs and count:
        _signal.signal(signal.SIGINT, _on_second)
        _state.replaced.append((signal.SIGINT, before, _on_second))


def _on_second(signum: int, _frame: FrameType | None) -> None:
    _end_process(signum)


def _on_signal(signum: int, frame: FrameType | None, error: BaseException) -> None:
    mask = this_thread.mask
    for watcher in tuple(watchers):
        watcher.signal_received(signum)
    if _is_in_flight(_state.received.get(signum)):
        _end_process(signum)
    is_ending = any(map(_is_in_flight, _state.received.values()))
    _state.received[signum] = error
    on_swallowed(type(error), _postpone)
    if mask.phase is ThreadPhase.ENGINE or (is_ending and mask.phase is ThreadPhase.HOOK):
        mask.defer(error)
    elif mask.phase is ThreadPhase.LOOP and mask.tasks and running_loop() is not None:
        mask.cancel_tasks(error)
    elif mask.phase in _UNMASKED and mask.handles_wake() and not is_safe(frame):
        mask.postpone(error)
    else:
        if mask.phase is ThreadPhase.HOOK:
            mask.in_flight = error  # until the other hooks have run
        raise error


def _postpone(error: BaseException) -> bool:
    """Have a signal's exception that a finalizer has swallowed raised again; only within runs."""
    mask = this_thread.mask
    is_of_a_signal = any(error is received for received in _state.received.values())
    if mask.phase not in _UNMASKED or not is_of_a_signal:
        return False
    mask.postpone(error)

    return True


_UNMASKED: Final = (ThreadPhase.BODY, ThreadPhase.HOOK)


def _is_in_flight(error: BaseException | None) -> bool:
    """Return whether a signal's exception is deferred, or raised and not handled yet."""
    if error is None:
        return False
    mask = this_thread.mask
    if error is mask.deferred or error in mask.tasks.values():
        return True

    return any(error is other for other in (*_chain(mask.in_flight), *_chain(sys.exception())))


_CONTEXT: Final[Any] = vars(BaseException)["__context__"]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those that were being handled when it was raised."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        # Not by the attribute, which a class of the user's may have replaced.
        error = _CONTEXT.__get__(error)


def _end_process(signum: int) -> None:
    """End the process by the default action of the signal; the guardian takes its hooks over."""
    signal.signal(signum, signal.SIG_DFL)
    signal.raise_signal(signum)


def cause(error: BaseException) -> BaseException:
    """Return the signal's exception if this cancellation stands for it, else the error itself."""
    if not is_a(error, asyncio.CancelledError):
        return error
    note_asyncio_interrupt()
    task = asyncio.current_task()

    return (this_thread.mask.tasks.get(task) if task is not None else None) or error
