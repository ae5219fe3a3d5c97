"""The interrupt mask of a thread: where an interrupt or a signal may be raised, and where not.

A thread is unmasked only while it executes a body (for signals: or a hook), never while the engine
is between a transition and its hooks. What arrives while it is masked is raised afterwards.
"""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextvars import Context
from enum import Enum
from functools import partial
from types import FrameType
from typing import Any, Final, Protocol

from eventflow.interrupts.portals import try_later
from eventflow.interrupts.safe_points import is_safe, raise_at_safe_point, raise_in_thread
from eventflow.interrupts.swallowed import on_swallowed
from eventflow.primitives.forks import in_children

__all__ = [
    "WAKE_SIGNAL",
    "Body",
    "InterruptMask",
    "Interrupted",
    "ThreadPhase",
    "on_wake",
    "on_wake_signal",
    "this_thread",
]

WAKE_SIGNAL: Final = getattr(signal, "SIGURG", None)
"""The signal that wakes the main thread from a blocking call; ignored by default everywhere."""

POLL_SECONDS: Final = 0.2
"""How often the main thread interrupts a wait of its own to handle signals."""

URGENT: Final = 20
"""After how many looks it counts only where the thread stands, and not where it goes from there."""


class Body(Protocol):
    """The cancel scope of a run whose body is on a thread's stack."""

    @property
    def reason(self) -> object | None:
        """Why the run is to stop; None if it is not."""
        ...

    def is_below(self, other: Any) -> bool:
        """Return whether the run is a descendant of the other one."""
        ...


class Waker(Protocol):
    """What ends the wait of a thread."""

    def set(self) -> object:
        """End it; may be called from a signal handler."""
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


class Interrupted(BaseException):
    """Raised inside the body of a sync run that eventflow stops; not for users to catch."""


class InterruptMask:
    """What one thread executes, and the exceptions that wait to be raised there."""

    __slots__ = (
        "_async_exc_pending",
        "_lock",
        "_outer_phase",
        "_polled_loop",
        "_postponed",
        "bodies",
        "deferred",
        "ident",
        "in_flight",
        "is_due",
        "phase",
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
        self.waiting_for: Waker | None = None
        self.tasks: dict[asyncio.Task[Any], BaseException | None] = {}
        self._outer_phase = NOTHING
        self._polled_loop: asyncio.AbstractEventLoop | None = None
        self._async_exc_pending = False
        self._postponed: BaseException | None = None
        # An interrupt has been asked for, and has not been raised yet.
        self.is_due = False
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

    def raise_pending(self) -> None:
        """Raise what was postponed, or Interrupted if a body is being executed and is to stop."""
        postponed = self.take_postponed()
        if postponed is not None:
            raise postponed
        if self.phase is BODY and self.is_stop_requested():
            self.is_due = False
            raise Interrupted

    def interrupt(self, cancel_scope: Body) -> None:
        """Interrupt this thread if that run's body is on its stack; called from any thread."""
        with self._lock:
            # Another thread may have removed the reason since the caller has read it.
            if cancel_scope.reason is None or cancel_scope not in self.bodies:
                return
            if self.phase is LOOP:
                self.cancel_tasks(None)
            elif self.phase is BODY:
                on_swallowed(Interrupted, _interrupt_again)
                self.is_due = True
                if self.waiting_for is not None:
                    self.waiting_for.set()
                if self.handles_wake():
                    self.send_signal()
                else:
                    self._raise_interrupted(cancel_scope, 0)

    def _raise_interrupted(self, cancel_scope: Body, tries: int) -> None:
        """Raise it as soon as the thread is at a safe point, unless it has left the body before."""
        with self._lock:
            is_wanted = cancel_scope.reason is not None and cancel_scope in self.bodies
            if not (is_wanted and self.is_due and self.phase is BODY):
                return
            if raise_at_safe_point(self.ident, Interrupted, is_urgent=tries >= URGENT):
                self.is_due = False
                self._async_exc_pending = True
            else:
                try_later(partial(self._raise_interrupted, cancel_scope, tries + 1), tries)

    def handles_wake(self) -> bool:
        """Return whether this is the main thread, and the wake signal is handled there."""
        is_main = self.ident == threading.main_thread().ident

        return (
            is_main and WAKE_SIGNAL is not None and signal.getsignal(WAKE_SIGNAL) is on_wake_signal
        )

    def send_signal(self, tries: int = 0) -> None:
        """Send the signal to this thread, the main one, again and again until it has been handled.

        It may arrive where nothing must be raised, and just before a blocking call, which it does
        not end then.
        """
        with self._lock:
            is_wanted = (self.is_due and self.phase is BODY) or self.is_postponed()
            if not is_wanted or WAKE_SIGNAL is None:
                return
            try_later(partial(self.send_signal, tries + 1), tries)
            if self.waiting_for is not None:
                self.waiting_for.set()
            signal.pthread_kill(self.ident, WAKE_SIGNAL)

    def unmask(self, phase: ThreadPhase) -> None:
        """Leave the engine for this phase, and raise what was deferred until then.

        Raises:
            Interrupted: the body of the phase, or one around it, is to stop.
            KeyboardInterrupt, TerminationSignal: a signal arrived meanwhile.
        """
        self.phase = phase
        if self.in_flight is not None and phase is not HOOK:
            self.in_flight = None
        # `stop` sets its reason before it interrupts: if the thread was masked, it is seen here.
        if phase is BODY and self.bodies and self.is_stop_requested():
            self.is_due = False
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
            with self._lock:
                is_pending = self._async_exc_pending
            if is_pending:
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
                # Again and again: a finalizer may swallow it.
                try:
                    while True:
                        raise_in_thread(self.ident, Interrupted)
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
            self.unmask(before)

    def enter_engine(self) -> None:
        """Begin to execute the engine, perhaps from within the body of another run."""
        if self.phase is BODY:
            self.mask()
        else:
            self.phase = ENGINE

    def defer(self, error: BaseException) -> None:
        """Raise an error when the engine is left; an exit takes precedence over an interrupt."""
        if not isinstance(self.deferred, SystemExit):
            self.deferred = error

    def postpone(self, error: BaseException) -> None:
        """Raise an error in this body or hook as soon as that is safe, or when it has ended."""
        self.defer(error)
        self._postponed = error
        # Only the main thread handles signals. It may be starting a thread just now, and hold the
        # lock for that: not by `threading`, therefore.
        with contextlib.suppress(RuntimeError):  # the interpreter is shutting down
            _thread.start_new_thread(self.send_signal, ())

    def is_postponed(self) -> bool:
        """Return whether an error waits to be raised in the present body or hook."""
        error = self.deferred

        return error is not None and error is self._postponed and self.phase in (BODY, HOOK)

    def take_postponed(self) -> BaseException | None:
        """Return that error, which is raised now; None if there is none."""
        if not self.is_postponed():
            return None
        error, self.deferred, self._postponed = self.deferred, None, None
        if self.phase is HOOK:
            self.in_flight = error  # until the other hooks have run

        return error

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
        """End what `enter_task` began; raises what `unmask` does."""
        self.tasks.pop(task, None)
        if not self.tasks and self.phase is LOOP:
            self.unmask(self._outer_phase)

    def cancel_tasks(self, cause: BaseException | None) -> None:
        """Cancel the tasks that execute async runs in this thread, and keep the cause."""
        for task in tuple(self.tasks):
            if cause is not None:
                self.tasks[task] = cause
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the run with it
                task.get_loop().call_soon_threadsafe(task.cancel)


class _Local(threading.local):
    def __init__(self) -> None:
        self.mask = InterruptMask()


this_thread: Final = _Local()
"""Its `mask` is the interrupt mask of the calling thread."""


def _after_fork() -> None:
    this_thread.mask.renew_lock()


in_children(_after_fork)


def _interrupt_again(_: Interrupted) -> bool:
    """Interrupt the bodies of this thread that are to stop, from another thread."""
    mask = this_thread.mask
    for cancel_scope in mask.bodies:
        with contextlib.suppress(RuntimeError):  # the interpreter is shutting down
            _thread.start_new_thread(mask.interrupt, (cancel_scope,))

    return True


_woken: Final[list[Callable[[], object]]] = []
on_wake: Final = _woken.append
"""Have a function called in the main thread at each wake signal."""

_TRIP: Final = iter(partial(_thread.interrupt_main, WAKE_SIGNAL or signal.SIGINT), 0)


def on_wake_signal(_signum: int, frame: FrameType | None) -> None:
    """Handle the signal that wakes the main thread, unless it stands where nothing may be raised.

    Raises:
        Interrupted: a body of this thread is to stop.
        KeyboardInterrupt, TerminationSignal: one was postponed.
    """
    for function in _woken:
        function()
    mask = this_thread.mask
    if mask.phase in (BODY, HOOK) and not is_safe(frame):
        # Handled again where CPython looks for signals the next time. Not by a call, behind which
        # it would look at once, in this very function.
        for _ in _TRIP:
            break
        return
    postponed = mask.take_postponed()
    if postponed is not None:
        raise postponed
    # Once for each interrupt: the signal may come again while the body already cleans up.
    is_due, mask.is_due = mask.is_due, False
    if is_due and mask.phase is BODY and mask.is_stop_requested():
        raise Interrupted
