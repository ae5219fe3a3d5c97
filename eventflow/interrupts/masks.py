"""The interrupt mask of a thread: where an interrupt or a signal may be raised, and where not.

A thread is unmasked only while it executes a body (for signals: or a hook), never while the engine
is between a transition and its hooks. What arrives while it is masked is raised afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
import threading
from collections.abc import Iterator
from contextvars import Context
from enum import Enum
from time import monotonic
from typing import Any, Final, Protocol

from eventflow.primitives.forks import in_children

__all__ = [
    "WAKE_SIGNAL",
    "Body",
    "InterruptMask",
    "Interrupted",
    "ThreadPhase",
    "Wakeup",
    "on_wake_signal",
    "thread_mask",
    "wait",
]

WAKE_SIGNAL: Final = getattr(signal, "SIGURG", None)
"""The signal that wakes the main thread from a blocking call; ignored by default everywhere."""

POLL_SECONDS: Final = 0.2
"""How often the main thread interrupts a wait of its own to handle signals."""


class Body(Protocol):
    """The cancel scope of a run whose body is on a thread's stack."""

    @property
    def reason(self) -> object | None:
        """Why the run is to stop; None if it is not."""
        ...

    def is_below(self, other: Any) -> bool:
        """Return whether the run is a descendant of the other one."""
        ...


class ThreadPhase(Enum):
    """What a thread is executing, as far as interrupts are concerned."""

    NOTHING = "nothing of a run"
    ENGINE = "the engine, for a sync run"
    BODY = "a sync body"
    HOOK = "a hook of a sync run"
    LOOP = "an event loop with async runs"


# Named once: Python 3.11 looks a member up by calling Python code, where an interrupt could arrive.
NOTHING: Final = ThreadPhase.NOTHING
ENGINE: Final = ThreadPhase.ENGINE
BODY: Final = ThreadPhase.BODY
HOOK: Final = ThreadPhase.HOOK
LOOP: Final = ThreadPhase.LOOP


class Wakeup:
    """An event that one thread waits for and others set; a wait that it ends clears it.

    Not `threading.Event`, whose `wait` is Python code: an interrupt may be raised between any two
    of its lines, and be replaced by a RuntimeError of its lock.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Set the event; may be called from a signal handler."""
        with contextlib.suppress(RuntimeError):  # it is set already
            self._lock.release()

    def clear(self) -> None:
        """Clear the event."""
        self._lock.acquire(blocking=False)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set or `timeout` seconds have passed; return whether it was set."""
        # Python cannot wait longer than that, which is 292 years.
        longest = threading.TIMEOUT_MAX

        return self._lock.acquire(timeout=-1 if timeout is None else min(timeout, longest))


class Interrupted(BaseException):
    """Raised inside the body of a sync run that eventflow stops; not for users to catch."""


class InterruptMask:
    """What one thread executes, and the exceptions that wait to be raised there."""

    __slots__ = (
        "_async_exc_pending",
        "_lock",
        "_outer_phase",
        "_polled_loop",
        "bodies",
        "deferred",
        "ident",
        "in_flight",
        "phase",
        "signalled",
        "tasks",
        "waiting_for",
    )

    def __init__(self) -> None:
        self.ident = threading.get_ident()
        self.phase = NOTHING
        self.bodies: list[Body] = []
        self.deferred: BaseException | None = None
        # What ends a run from outside, until the engine is left for a body or for the caller.
        self.in_flight: BaseException | None = None
        self.waiting_for: Wakeup | None = None
        self.tasks: dict[asyncio.Task[Any], BaseException | None] = {}
        self._outer_phase = NOTHING
        self._polled_loop: asyncio.AbstractEventLoop | None = None
        self._async_exc_pending = False
        self.signalled = False
        self.renew_lock()

    def renew_lock(self) -> None:
        """Replace the lock: in a forked child, the thread that held it does not exist."""
        # Reentrant: a signal handler of the program's own, in this thread, may cancel a run.
        self._lock = threading.RLock()

    def is_stop_requested(self) -> bool:
        """Return whether a body on this thread's stack is to stop."""
        for cancel_scope in self.bodies:  # noqa: SIM110 - asked twice a run, where any() is slow
            if cancel_scope.reason is not None:
                return True

        return False

    def interrupt(self, cancel_scope: Body) -> None:
        """Interrupt this thread if that run's body is on its stack; called from any thread."""
        with self._lock:
            # Another thread may have removed the reason since the caller has read it.
            if cancel_scope.reason is None or cancel_scope not in self.bodies:
                return
            if self.phase is LOOP:
                self.cancel_tasks(None)
            elif self.phase is BODY:
                self._raise_interrupted()
                if self.waiting_for is not None:
                    self.waiting_for.set()

    def _raise_interrupted(self) -> None:
        is_main = self.ident == threading.main_thread().ident
        if is_main and WAKE_SIGNAL is not None and _handles_wake(WAKE_SIGNAL):
            self.signalled = True
            signal.pthread_kill(self.ident, WAKE_SIGNAL)
        else:
            self._async_exc_pending = True
            _set_async_exc(self.ident)

    def resend_signal(self) -> bool:
        """Send the signal again if its handler has not run yet; return whether it was sent.

        A signal that arrives just before a blocking call begins does not end that call.
        """
        with self._lock:
            missed = self.signalled and self.phase is BODY
            if missed and WAKE_SIGNAL is not None:
                signal.pthread_kill(self.ident, WAKE_SIGNAL)

            return missed

    def unmask(self, phase: ThreadPhase) -> None:
        """Allow what may be raised in this phase, and raise what was deferred."""
        self.phase = phase
        if self.in_flight is not None and phase is not HOOK:
            self.in_flight = None
        # `stop` sets its reason before it interrupts: if the thread was masked, it is seen here.
        if phase is BODY and self.bodies and self.is_stop_requested():
            raise Interrupted
        deferred, self.deferred = self.deferred, None
        if deferred is not None:
            raise deferred

    def mask(self) -> None:
        """Allow no interrupt from here on, and discard a pending one.

        Two may be pending: one that was set before, and one whose sender held the lock just then.
        """
        self.phase = ENGINE
        # Nested, not a loop: CPython raises asynchronous exceptions at a backward jump as well,
        # and that of a loop is outside of its `try`.
        try:
            self._discard_async_exc()
        except Interrupted:
            try:
                self._discard_async_exc()
            except Interrupted:
                self._discard_async_exc()

    def _discard_async_exc(self) -> None:
        with self._lock:
            if self._async_exc_pending:
                self._async_exc_pending = False
                # Whether it has been raised yet is not known: set another one, and wait for it.
                # If it were cleared, CPython would go on checking for it, and a traced thread hang.
                try:
                    _set_async_exc(self.ident)
                    while True:
                        pass
                except Interrupted:
                    pass

    @contextlib.contextmanager
    def nested(self, cancel_scope: Body) -> Iterator[None]:
        """Execute another run within the block; only bodies around that run are interrupted."""
        before, bodies = self.phase, self.bodies
        self.enter_engine()
        self.bodies = [body for body in bodies if cancel_scope.is_below(body)]
        try:
            yield
        finally:
            self.bodies = bodies
            self.leave_engine(before)

    def enter_engine(self) -> None:
        """Begin to execute the engine, perhaps from within the body of another run."""
        if self.phase is BODY:
            self.mask()
        else:
            self.phase = ENGINE

    def leave_engine(self, before: ThreadPhase) -> None:
        """Return to the phase before the engine, and raise what was deferred.

        Raises:
            Interrupted: the enclosing body is to stop.
            KeyboardInterrupt, TerminationSignal: a signal arrived meanwhile.
        """
        self.unmask(before)

    def defer(self, error: BaseException) -> None:
        """Raise an error when the engine is left; an exit takes precedence over an interrupt."""
        if not isinstance(self.deferred, SystemExit):
            self.deferred = error

    def enter_task(self, task: asyncio.Task[Any]) -> None:
        """Begin to execute async runs in this task, which is cancelled instead of interrupted."""
        if self.phase is not LOOP:
            outer_phase = self.phase
            self.enter_engine()
            self._outer_phase = outer_phase
        self.tasks[task] = None
        self.phase = LOOP
        loop = task.get_loop()
        if self._polled_loop is not loop and self.ident == threading.main_thread().ident:
            self._polled_loop = loop
            self._poll(loop)
        if self.is_stop_requested():
            task.cancel()

    def _poll(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake the loop at intervals: a signal may arrive just before it begins to wait.

        Ends once no run executes there any more.
        """
        if self._polled_loop is not loop:
            return
        if self.tasks:
            loop.call_later(POLL_SECONDS, self._poll, loop, context=Context())
        else:
            self._polled_loop = None

    def leave_task(self, task: asyncio.Task[Any]) -> None:
        """End what `enter_task` began; raises what `leave_engine` does."""
        self.tasks.pop(task, None)
        if not self.tasks and self.phase is LOOP:
            self.leave_engine(self._outer_phase)

    def cancel_tasks(self, cause: BaseException | None) -> None:
        """Cancel the tasks that execute async runs in this thread, and keep the cause."""
        for task in tuple(self.tasks):
            if cause is not None:
                self.tasks[task] = cause
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the run with it
                task.get_loop().call_soon_threadsafe(task.cancel)


def _set_async_exc(ident: int) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(Interrupted))


class _Local(threading.local):
    def __init__(self) -> None:
        self.mask = InterruptMask()


_local: Final = _Local()


def thread_mask() -> InterruptMask:
    """Return the interrupt mask of this thread."""
    return _local.mask


in_children(lambda: thread_mask().renew_lock())


def _handles_wake(signum: int) -> bool:
    return signal.getsignal(signum) is on_wake_signal


def on_wake_signal(_signum: int, _frame: object) -> None:
    """Handle the signal that wakes the main thread.

    Raises:
        Interrupted: a body of this thread is to stop.
    """
    mask = thread_mask()
    mask.signalled = False
    if mask.phase is BODY and mask.is_stop_requested():
        raise Interrupted


def wait(wakeup: Wakeup, timeout: float | None = None) -> bool:
    """Wait until it is set or `timeout` seconds have passed; return whether it was set.

    It is also set by `interrupt`, so that a body that waits here can be stopped.
    """
    mask = thread_mask()
    mask.waiting_for = wakeup
    try:
        if mask.phase is BODY and mask.is_stop_requested():
            raise Interrupted
        if mask.ident != threading.main_thread().ident:
            return wakeup.wait(timeout)
        return _wait_in_main_thread(wakeup, timeout)
    finally:
        mask.waiting_for = None


def _wait_in_main_thread(wakeup: Wakeup, timeout: float | None) -> bool:
    """Wait at most `POLL_SECONDS` at a time.

    A signal may arrive just before a wait begins, and Python handles it only when that wait ends.
    """
    deadline = None if timeout is None else monotonic() + timeout
    while True:
        remaining = None if deadline is None else max(0.0, deadline - monotonic())
        if wakeup.wait(POLL_SECONDS if remaining is None else min(remaining, POLL_SECONDS)):
            return True
        if remaining is not None and remaining <= POLL_SECONDS:
            return False
