"""Stopping a run: cancellation and timeouts, brought to the thread or the task that executes it.

A sync body is stopped by an exception raised in its thread, an async body by cancelling its task.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, TypeVar

from eventflow.gates import Gate, Inside, Interrupted, gate, wait
from eventflow.portal import watchdog

__all__ = ["Control", "Gate", "Inside", "Interrupted", "Reason", "gate", "live", "wait"]

T = TypeVar("T")


REMIND_SECONDS: Final = 0.02
"""How long the main thread has to notice that one of its bodies is to stop."""


class Reason(Enum):
    """Why eventflow itself stops a run."""

    CANCELLED = "cancelled"
    TIMED_OUT = "timed out"


# Python 3.11 looks a member up by calling Python code, where an interrupt could arrive.
_CANCELLED: Final = Reason.CANCELLED
_TIMED_OUT: Final = Reason.TIMED_OUT
_ENGINE: Final = Inside.ENGINE
_BODY: Final = Inside.BODY

# Reentrant: a signal handler of the program's own may cancel a run.
_lock: Final = threading.RLock()


def _is_current(task: asyncio.Task[Any]) -> bool:
    try:
        return asyncio.current_task() is task
    except RuntimeError:  # no loop is running here
        return False


class Control:
    """The handle by which one run is stopped, whoever asks and wherever it executes."""

    __slots__ = (
        "_cancelled_before",
        "_cancels",
        "_gate",
        "_loop",
        "_task",
        "_timer",
        "closed",
        "parent",
        "reason",
    )

    def __init__(self, parent: Control | None) -> None:
        self.parent = parent
        self.reason: Reason | None = None
        self.closed = False
        self._timer: object = None
        self._gate: Gate | None = None
        self._task: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cancels = 0
        self._cancelled_before = 0

    def stop(self, reason: Reason) -> bool:
        """Stop the run; gives False if it has ended or is being cancelled already."""
        with _lock:
            if self.closed or self.reason is _CANCELLED:
                return False
            self.reason = reason
        self._interrupt()

        return True

    def close(self) -> bool:
        """Let nothing stop the run from here on; says whether its cancellation was asked for."""
        with _lock:
            self.closed = True
        self.take_back()

        return self.reason is _CANCELLED

    def _interrupt(self) -> None:
        # Read once: the run may end, and clear them, while this is being done.
        thread, loop = self._gate, self._loop
        if thread is not None:
            thread.knock(self)
            if thread.signalled:
                _remind_later(thread)
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the run with it
                loop.call_soon_threadsafe(self._cancel_task)

    def _cancel_task(self) -> None:
        if self._task is not None and not self.closed and self.reason is not None:
            self._cancels += 1
            self._task.cancel()

    @property
    def stopped_above(self) -> bool:
        """Whether a run around this one is being stopped."""
        above = self.parent
        while above is not None:
            if above.reason is not None:
                return True
            above = above.parent

        return False

    def is_below(self, other: Control) -> bool:
        """Say whether the other run is around this one."""
        above = self.parent
        while above is not None and above is not other:
            above = above.parent

        return above is not None

    def awaiting(self) -> list[Control]:
        """Give this run and those around it whose task is standing still in this very call.

        A sync run that is called from an async body blocks the loop: its thread must be
        interrupted, for the cancellation of the task could only come afterwards.
        """
        task = self._task
        if task is None or not _is_current(task):
            return []
        found: list[Control] = []
        above: Control | None = self
        while above is not None and above._task is task:  # noqa: SLF001 - its own kind
            found.insert(0, above)
            above = above.parent

        return found

    def call(self, body: Callable[[], T]) -> T:
        """Call a sync body where interrupts may reach it.

        Raises:
            Interrupted: the run, or one around it, was stopped.
        """
        here = gate()
        bodies = [self] if self.parent is None else [*self.parent.awaiting(), self]
        here.bodies += bodies
        for control in bodies:
            control._gate = here  # noqa: SLF001 - its own kind
        try:
            here.open(_BODY)
            return body()
        finally:
            # From here on nobody knocks; what was raised before may still arrive in any call.
            here.inside = _ENGINE
            try:
                here.shut()
            except Interrupted:
                try:
                    here.shut()
                except Interrupted:
                    here.shut()
            for control in bodies:
                control._gate = None  # noqa: SLF001 - its own kind
                here.bodies.pop()

    def sleep(self, seconds: float) -> None:
        """Sleep between two attempts of a sync run, where interrupts may reach it."""
        self.call(lambda: wait(threading.Event(), seconds))

    def begin_task(self, task: asyncio.Task[Any]) -> bool:
        """Say that an async run is executed by this task from now on.

        Says whether no run around it is executed on the same loop.
        """
        self._task, self._loop = task, task.get_loop()
        self._cancelled_before = task.cancelling() - self._cancels

        return self.parent is None or self.parent._loop is not self._loop  # noqa: SLF001 - its own kind

    def end_task(self) -> None:
        """Say that the task has ended with the run."""
        self._task = self._loop = None

    def take_back(self) -> bool:
        """Take back the cancellations of the task that have done their work.

        Says whether somebody else has asked for the task's cancellation as well.
        """
        task = self._task
        if task is None:
            return False
        while self._cancels:
            self._cancels -= 1
            task.uncancel()

        return task.cancelling() > self._cancelled_before

    def start_timer(self) -> object:
        """Begin to bound a call of the body; gives what `expire` must be told."""
        self._timer = object()

        return self._timer

    def stop_timer(self) -> None:
        """Say that the bounded call has ended: its timer may no longer stop the run."""
        with _lock:
            self._timer = None

    def expire(self, timer: object) -> None:
        """Stop the run because its time is over, if that timer is still running."""
        with _lock:
            if self._timer is not timer or self.closed or self.reason is not None:
                return
            self.reason = _TIMED_OUT
        self._interrupt()

    def take_timeout(self) -> bool:
        """Say whether the time is over, and forget it: there may be another attempt."""
        with _lock:
            if self.reason is not _TIMED_OUT:
                return False
            self.reason = None

        return True


def _remind_later(thread: Gate) -> None:
    def remind() -> None:
        if thread.remind():
            _remind_later(thread)

    watchdog.call_later(REMIND_SECONDS, remind)


live: Final[dict[int, Control]] = {}
"""The controls of the runs that are being executed in this process, by the number of their id.

The hash of a UUID is computed by Python code, that of a number is not.
"""
