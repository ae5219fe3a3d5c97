"""SIGINT and SIGTERM while runs execute: never between a transition and its hooks."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from eventflow.control import Inside, gate, wake_main_thread
from eventflow.errors import TerminationSignal
from eventflow.portal import running_loop

__all__ = ["guard", "terminated", "watch_task"]

_tasks: Final[set[asyncio.Task[Any]]] = set()
_terminated: Final[set[asyncio.Task[Any]]] = set()


def guard() -> Callable[[], None] | None:
    """Take over SIGINT and SIGTERM for an outermost run, where the program left them alone.

    Gives what puts them back, or None where there is nothing to take: outside the main thread,
    or where the program has handlers of its own.
    """
    if threading.current_thread() is not threading.main_thread():
        return None
    wake_main_thread()
    taken: list[tuple[signal.Signals, Any]] = []
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        taken.append((signal.SIGINT, signal.signal(signal.SIGINT, _on_interrupt)))
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        taken.append((signal.SIGTERM, signal.signal(signal.SIGTERM, _on_terminate)))

    def put_back() -> None:
        for signum, handler in taken:
            signal.signal(signum, handler)

    return put_back if taken else None


def _on_interrupt(_signum: int, _frame: FrameType | None) -> None:
    _raise_or_defer(KeyboardInterrupt())


def _on_terminate(signum: int, _frame: FrameType | None) -> None:
    if gate().inside is Inside.NOTHING and running_loop() is not None:
        _terminated.update(_tasks)
        for task in _tasks:
            task.get_loop().call_soon_threadsafe(task.cancel)
        if _tasks:
            return
    _raise_or_defer(TerminationSignal(signum))


def _raise_or_defer(error: BaseException) -> None:
    here = gate()
    if here.inside is Inside.ENGINE:
        here.deferred = error
    else:
        raise error


def watch_task(task: asyncio.Task[Any]) -> Callable[[], None]:
    """Have SIGTERM cancel this task, which executes an outermost async run."""
    _tasks.add(task)

    def stop_watching() -> None:
        _tasks.discard(task)
        _terminated.discard(task)

    return stop_watching


def terminated(task: asyncio.Task[Any] | None) -> bool:
    """Say whether the task was cancelled because of SIGTERM."""
    return task in _terminated
