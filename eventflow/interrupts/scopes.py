"""Cancel scopes: stop a run, by cancellation or timeout, in the thread or task that executes it.

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
from typing import Any, Final, Protocol, TypeVar

from eventflow.interrupts.masks import (
    BODY,
    ENGINE,
    Interrupted,
    InterruptMask,
    this_thread,
)
from eventflow.interrupts.portals import timer_portal
from eventflow.interrupts.waiting import Wakeup, wait
from eventflow.primitives.forks import in_children, renewed

__all__ = [
    "CancelScope",
    "Reason",
    "Stoppable",
    "active_runs",
    "inherited_runs",
    "on_grace_expired",
]

T = TypeVar("T")

GRACE_SECONDS: Final = 0.5
"""How long a cancelled body has to end before its run is taken over."""


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
    """The handle by which one run is stopped, from any thread."""

    __slots__ = (
        "_cancelled_before",
        "_cancels",
        "_loop",
        "_mask",
        "_task",
        "_timer",
        "body",  # the coroutine of an async body; not set before it is awaited
        "cancelled_at",  # not set before `stop`
        "closed",
        "executing",
        "on_stop",
        "parent",
        "reason",
        "takeover",
    )

    body: Any
    cancelled_at: float

    def __init__(self, parent: CancelScope | None) -> None:
        self.parent = parent
        self.reason: Reason | None = None
        self.closed = False
        self.takeover: Any = None
        # The invocation whose body is being executed.
        self.executing: Any = None
        # Told of a stop, where neither a thread nor a task of this process executes the body.
        self.on_stop: Callable[[], object] | None = None
        self._timer: object = None
        self._mask: InterruptMask | None = None
        self._task: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cancels = 0
        self._cancelled_before = 0

    def stop(self, reason: Reason) -> bool:
        """Stop the run; return False if it has ended or is being cancelled already."""
        with _lock:
            if self.closed or self.reason is CANCELLATION:
                return False
            self.reason = reason
            self.cancelled_at = monotonic()
        if reason is CANCELLATION:
            _escalate_later(self)  # first: `_interrupt` raises in a body that cancels itself
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
        """Cancel the runs below, and have this one taken over, if its body has not ended."""
        if self.closed or self.takeover is not None:
            return
        invocation = self.executing
        if invocation is None:  # a hook is running: wait for its end
            _escalate_later(self)
            return
        scopes = [run.cancel_scope for run in (*active_runs.values(),)]
        below = sorted((scope for scope in scopes if scope.is_below(self)), key=_depth)
        for scope in reversed(below):
            scope.stop(CANCELLATION)
            scope.escalate()
        for take_over in _on_grace_expired:
            take_over(invocation, below)

    def reinterrupt(self) -> None:
        """Interrupt again a body that has not ended."""
        self._interrupt()

    @property
    def given_up(self) -> bool:
        """Whether the run has ended without its body, which had not ended in time."""
        return self.takeover is not None and self.takeover.given_up

    def close(self) -> bool:
        """Accept no request to stop any more; return whether the run is cancelled."""
        with _lock:
            self.closed = True
        if self._task is not None:
            self.uncancel_task()

        return self.reason is CANCELLATION

    def _interrupt(self) -> None:
        # Read once: the run may end, and clear them, at any time.
        mask, loop = self._mask, self._loop
        if self.on_stop is not None:
            self.on_stop()
        if mask is not None:
            mask.interrupt(self)
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the run with it
                loop.call_soon_threadsafe(self._cancel_task)

    def _cancel_task(self) -> None:
        is_executing = not self.closed or self.given_up
        if self._task is not None and is_executing and self.reason is not None:
            self._cancels += 1
            self._task.cancel()
            body = getattr(self, "body", None) if self.given_up else None
            if inspect.iscoroutine(body):
                with contextlib.suppress(Exception):  # it may ignore GeneratorExit
                    body.close()

    @property
    def stopped_above(self) -> bool:
        """Whether a run around this one is being stopped."""
        scope = self.parent
        while scope is not None:
            if scope.reason is not None:
                return True
            scope = scope.parent

        return False

    def is_below(self, other: CancelScope) -> bool:
        """Return whether the run is a descendant of the other one."""
        scope = self.parent
        while scope is not None and scope is not other:
            scope = scope.parent

        return scope is not None

    def blocked_scopes(self) -> list[CancelScope]:
        """Return this scope and those around it whose task is blocked by the present call.

        A sync run that is called from an async body blocks the loop, which cannot cancel the task
        before it returns: the thread has to be interrupted.
        """
        task = self._task
        if task is None or not _is_current(task):
            return []
        scopes: list[CancelScope] = []
        scope: CancelScope | None = self
        while scope is not None and scope._task is task:  # noqa: SLF001 - its own kind
            scopes.insert(0, scope)
            scope = scope.parent

        return scopes

    def call(self, body: Callable[[], T]) -> T:
        """Call a sync body, unmasked.

        Raises:
            Interrupted: the run, or one around it, was stopped.
        """
        mask = this_thread.mask
        bodies, parent = [self], self.parent
        if parent is not None and parent._task is not None:  # noqa: SLF001 - its own kind
            bodies = [*parent.blocked_scopes(), self]
        mask.bodies += bodies
        for cancel_scope in bodies:
            cancel_scope._mask = mask  # noqa: SLF001 - its own kind
        try:
            mask.unmask(BODY)
            return body()
        finally:
            # From here on no interrupt is sent; one that was sent before may be raised in any call.
            # Nested, not a loop, for the reason given in `InterruptMask.mask`.
            mask.phase = ENGINE
            try:
                mask.mask()
            except Interrupted:
                try:
                    mask.mask()
                except Interrupted:
                    mask.mask()
            for cancel_scope in bodies:
                cancel_scope._mask = None  # noqa: SLF001 - its own kind
                mask.bodies.pop()

    def sleep(self, seconds: float) -> None:
        """Sleep between two attempts of a sync run, unmasked."""
        self.call(lambda: wait(Wakeup(), seconds))

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that executes an async run."""
        return self._loop

    def begin_task(self, task: asyncio.Task[Any]) -> bool:
        """Note which task executes an async run.

        Return whether the run is the outermost one on its loop.
        """
        self._task, self._loop = task, task.get_loop()
        self._cancelled_before = task.cancelling() - self._cancels

        return self.parent is None or self.parent._loop is not self._loop  # noqa: SLF001 - its own kind

    def end_task(self) -> None:
        """Note that the task has left the run."""
        self._task = self._loop = None

    def uncancel_task(self) -> bool:
        """Undo the scope's own cancellations of the task, once they have been delivered.

        Return whether the task has been cancelled by others as well.
        """
        task = self._task
        if task is None or self.takeover is not None:
            return False  # a takeover is executed in another thread than the task

        return self.uncancel(task)

    def uncancel(self, task: asyncio.Task[Any]) -> bool:
        """Do what `uncancel_task` does, within the task, also after a takeover."""
        while self._cancels:
            self._cancels -= 1
            task.uncancel()

        return task.cancelling() > self._cancelled_before

    def start_timer(self) -> object:
        """Begin the timeout of a call of the body; return the timer to pass to `expire`."""
        self._timer = object()

        return self._timer

    def stop_timer(self) -> None:
        """End the timeout: its timer can no longer stop the run."""
        with _lock:
            self._timer = None

    def expire(self, timer: object) -> None:
        """Stop the run because its timeout has passed, if that timer is still the present one."""
        with _lock:
            if self._timer is not timer or self.closed or self.reason is not None:
                return
            self.reason = TIMEOUT
        self._interrupt()

    def take_timeout(self) -> bool:
        """Return whether the timeout has passed, and reset it for another attempt."""
        with _lock:
            if self.reason is not TIMEOUT:
                return False
            self.reason = None

        return True


def _escalate_later(cancel_scope: CancelScope) -> None:
    timer_portal.call_later(GRACE_SECONDS, cancel_scope.escalate)


def _depth(cancel_scope: CancelScope) -> int:
    scope, depth = cancel_scope.parent, 0
    while scope is not None:
        scope, depth = scope.parent, depth + 1

    return depth


_on_grace_expired: Final[list[Callable[[Any, list[CancelScope]], None]]] = []


def on_grace_expired(take_over: Callable[[Any, list[CancelScope]], None]) -> None:
    """Register what takes a run over whose body has not ended within `GRACE_SECONDS`.

    It is called with the invocation and with the scopes below it, which are taken over already.
    """
    _on_grace_expired.append(take_over)


class Stoppable(Protocol):
    """A run, as far as it can be stopped."""

    number: int
    cancel_scope: CancelScope


active_runs: Final[dict[int, Stoppable]] = {}
"""The runs that this process executes, by the number of their id, in the order in which they began.

The hash of a UUID is computed by Python code, that of a number is not.
"""

inherited_runs: Final[set[int]] = set()
"""The numbers of the runs that the parent executed when this process was forked."""
in_children(lambda: inherited_runs.update(active_runs))
