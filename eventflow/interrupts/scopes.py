"""Stopping a run: cancellation and timeouts, brought to the thread or the task that executes it.

A sync body is stopped by an exception raised in its thread, an async body by cancelling its task.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Callable
from enum import Enum
from time import monotonic
from typing import Any, Final, TypeVar

from eventflow.interrupts.masks import (
    BODY,
    ENGINE,
    Bell,
    Interrupted,
    InterruptMask,
    ThreadPhase,
    thread_mask,
    wait,
)
from eventflow.interrupts.portals import watchdog
from eventflow.primitives.forks import renewed

__all__ = [
    "Bell",
    "CancelScope",
    "InterruptMask",
    "Interrupted",
    "Reason",
    "ThreadPhase",
    "live",
    "on_overdue",
    "thread_mask",
    "wait",
]

T = TypeVar("T")


REMIND_SECONDS: Final = 0.02
"""How long the main thread has to notice that one of its bodies is to stop."""


GRACE_SECONDS: Final = 0.5
"""How long a body has to end after its cancellation before its run goes on without it."""


class Reason(Enum):
    """Why eventflow itself stops a run."""

    CANCELLED = "cancelled"
    TIMED_OUT = "timed out"


# Named once: Python 3.11 looks a member up by calling Python code, where an interrupt could arrive.
CANCELLATION: Final = Reason.CANCELLED
TIMEOUT: Final = Reason.TIMED_OUT

# Reentrant: a signal handler of the program's own may cancel a run.
_lock = threading.RLock()
renewed(globals(), "_lock", threading.RLock)


def _is_current(task: asyncio.Task[Any]) -> bool:
    try:
        return asyncio.current_task() is task
    except RuntimeError:  # no loop is running here
        return False


class CancelScope:
    """The handle by which one run is stopped, whoever asks and wherever it executes."""

    __slots__ = (
        "_cancelled_before",
        "_cancels",
        "_loop",
        "_mask",
        "_task",
        "_timer",
        "asked",  # when its cancellation was; not set before
        "body",  # the coroutine of an async task; not set before
        "closed",
        "executing",
        "parent",
        "reason",
        "takeover",
    )

    body: Any
    asked: float

    def __init__(self, parent: CancelScope | None) -> None:
        self.parent = parent
        self.reason: Reason | None = None
        self.closed = False
        self.takeover: Any = None
        # The invocation whose body is being executed.
        self.executing: Any = None
        self._timer: object = None
        self._mask: InterruptMask | None = None
        self._task: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cancels = 0
        self._cancelled_before = 0

    def stop(self, reason: Reason) -> bool:
        """Stop the run; gives False if it has ended or is being cancelled already."""
        with _lock:
            if self.closed or self.reason is CANCELLATION:
                return False
            self.reason = reason
            self.asked = monotonic()
        if reason is CANCELLATION:
            _escalate_later(self)  # first: a body that cancels itself is interrupted in here
        self._interrupt()

        return True

    def leave_body(self, invocation: object) -> bool:
        """Note that the body has ended; return False if the run has been taken over meanwhile."""
        with _lock:
            is_ours = self.executing is invocation
            self.executing = None

        return is_ours

    def take_over(self, invocation: object, takeover: object) -> bool:
        """Take the run over from the driver of its body; return False if the body has ended."""
        with _lock:
            if self.executing is not invocation:
                return False
            self.executing = None
            self.takeover = takeover

        return True

    def escalate(self) -> None:
        """Have the run taken over if its body has not stopped."""
        if self.closed or self.takeover is not None:
            return
        invocation = self.executing
        if invocation is None:  # a hook is running, which is waited for
            _escalate_later(self)
            return
        below = sorted((scope for scope in (*live.values(),) if scope.is_below(self)), key=_depth)
        for scope in reversed(below):
            scope.stop(CANCELLATION)
            scope.escalate()
        for take_over in _on_overdue:
            take_over(invocation, below)

    def reinterrupt(self) -> None:
        """Interrupt a body again that has gone on for too long."""
        self._interrupt()

    @property
    def overdue(self) -> bool:
        """Whether the body has gone on for too long."""
        return self.takeover is not None and self.takeover.overdue

    def close(self) -> bool:
        """Let nothing stop the run from here on; says whether its cancellation was asked for."""
        with _lock:
            self.closed = True
        self.take_back()

        return self.reason is CANCELLATION

    def _interrupt(self) -> None:
        # Read once: the run may end, and clear them, while this is being done.
        thread, loop = self._mask, self._loop
        if thread is not None:
            thread.interrupt(self)
            if thread.signalled:
                _remind_later(thread)
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the run with it
                loop.call_soon_threadsafe(self._cancel_task)

    def _cancel_task(self) -> None:
        gone_on = not self.closed or self.overdue
        if self._task is not None and gone_on and self.reason is not None:
            self._cancels += 1
            self._task.cancel()
            body = getattr(self, "body", None) if self.overdue else None
            if inspect.iscoroutine(body):
                with contextlib.suppress(Exception):  # it may refuse, and then goes on
                    body.close()

    @property
    def stopped_above(self) -> bool:
        """Whether a run around this one is being stopped."""
        above = self.parent
        while above is not None:
            if above.reason is not None:
                return True
            above = above.parent

        return False

    def is_below(self, other: CancelScope) -> bool:
        """Say whether the other run is around this one."""
        above = self.parent
        while above is not None and above is not other:
            above = above.parent

        return above is not None

    def awaiting(self) -> list[CancelScope]:
        """Give this run and those around it whose task is standing still in this very call.

        A sync run that is called from an async body blocks the loop: its thread must be
        interrupted, for the cancellation of the task could only come afterwards.
        """
        task = self._task
        if task is None or not _is_current(task):
            return []
        found: list[CancelScope] = []
        above: CancelScope | None = self
        while above is not None and above._task is task:  # noqa: SLF001 - its own kind
            found.insert(0, above)
            above = above.parent

        return found

    def call(self, body: Callable[[], T]) -> T:
        """Call a sync body where interrupts may reach it.

        Raises:
            Interrupted: the run, or one around it, was stopped.
        """
        here = thread_mask()
        bodies = [self] if self.parent is None else [*self.parent.awaiting(), self]
        here.bodies += bodies
        for cancel_scope in bodies:
            cancel_scope._mask = here  # noqa: SLF001 - its own kind
        try:
            here.unmask(BODY)
            return body()
        finally:
            # From here on nobody knocks; what was raised before may still arrive in any call.
            here.phase = ENGINE
            try:
                here.mask()
            except Interrupted:
                try:
                    here.mask()
                except Interrupted:
                    here.mask()
            for cancel_scope in bodies:
                cancel_scope._mask = None  # noqa: SLF001 - its own kind
                here.bodies.pop()

    def sleep(self, seconds: float) -> None:
        """Sleep between two attempts of a sync run, where interrupts may reach it."""
        self.call(lambda: wait(Bell(), seconds))

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that executes an async run."""
        return self._loop

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
        if task is None or self.takeover is not None:
            return False  # who took over is in another thread than the task

        return self.uncancel(task)

    def uncancel(self, task: asyncio.Task[Any]) -> bool:
        """Do what `take_back` does, in the task itself."""
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
            self.reason = TIMEOUT
        self._interrupt()

    def take_timeout(self) -> bool:
        """Say whether the time is over, and forget it: there may be another attempt."""
        with _lock:
            if self.reason is not TIMEOUT:
                return False
            self.reason = None

        return True


def _remind_later(thread: InterruptMask) -> None:
    def remind() -> None:
        if thread.remind():
            _remind_later(thread)

    watchdog.call_later(REMIND_SECONDS, remind)


def _escalate_later(cancel_scope: CancelScope) -> None:
    watchdog.call_later(GRACE_SECONDS, cancel_scope.escalate)


def _depth(cancel_scope: CancelScope) -> int:
    above, depth = cancel_scope.parent, 0
    while above is not None:
        above, depth = above.parent, depth + 1

    return depth


_on_overdue: Final[list[Callable[[Any, list[CancelScope]], None]]] = []


def on_overdue(take_over: Callable[[Any, list[CancelScope]], None]) -> None:
    """Register what drives a run on whose body has not stopped within its grace.

    It is called with the invocation and with the scopes below it, which are taken over already.
    """
    _on_overdue.append(take_over)


live: Final[dict[int, CancelScope]] = {}
"""The cancel_scopes of the runs that are being executed in this process, by the number of their id.

The hash of a UUID is computed by Python code, that of a number is not.
"""
