"""Stopping a run: cancellation and timeouts, brought to the thread or the task that executes it.

A sync body is stopped by an exception raised in its thread, an async body by cancelling its task.
Neither may arrive while the engine is between a transition and its hooks: a thread has a gate
that lets an interrupt in only while a body (for signals: or a hook) is being executed there.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
import threading
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Final, TypeVar
from uuid import UUID

__all__ = ["Control", "Gate", "Inside", "Interrupted", "Reason", "gate", "live", "wait"]

T = TypeVar("T")

WAKE: Final = getattr(signal, "SIGURG", None)
"""The signal that wakes the main thread from a blocking call; ignored by default everywhere."""


class Reason(Enum):
    """Why eventflow itself stops a run."""

    CANCELLED = "cancelled"
    TIMED_OUT = "timed out"


class Inside(Enum):
    """What a thread is executing, as far as interrupts are concerned."""

    NOTHING = "nothing of a sync run"
    ENGINE = "the engine"
    BODY = "a body"
    HOOK = "a hook"


class Interrupted(BaseException):
    """Raised inside the body of a sync run that eventflow stops; not for users to catch."""


class Gate:
    """What one thread is inside of, and what waits to be raised there."""

    __slots__ = ("bodies", "deferred", "ident", "inside", "lock", "sleeping")

    def __init__(self) -> None:
        self.ident = threading.get_ident()
        self.lock = threading.Lock()
        self.inside = Inside.NOTHING
        self.bodies: list[Control] = []
        self.deferred: BaseException | None = None
        self.sleeping: threading.Event | None = None

    def due(self) -> bool:
        """Say whether a body on this thread's stack has been told to stop."""
        return any(control.reason is not None for control in self.bodies)

    def knock(self, control: Control) -> None:
        """Interrupt the bodies on this thread from that run's on; called from any thread."""
        with self.lock:
            if self.inside is Inside.BODY and control in self.bodies:
                self._raise_there()
            if self.sleeping is not None:
                self.sleeping.set()

    def _raise_there(self) -> None:
        if WAKE is not None and self.ident == threading.main_thread().ident and _woken.is_set():
            signal.pthread_kill(self.ident, WAKE)
        else:
            _raise_in(self.ident, Interrupted)

    def open(self, inside: Inside) -> None:
        """Let in what may arrive here, and raise what has been waiting."""
        with self.lock:
            self.inside = inside
        deferred, self.deferred = self.deferred, None
        if deferred is not None:
            raise deferred
        if inside is Inside.BODY and self.bodies and self.due():
            raise Interrupted

    def shut(self) -> None:
        """Let nothing in from here on; an interrupt on its way is called back."""
        with self.lock:
            if self.inside is Inside.BODY and self.bodies and self.due():
                _raise_in(self.ident, None)
            self.inside = Inside.ENGINE

    def shut_firmly(self) -> None:
        """Shut the gate although an interrupt may arrive while that is being done."""
        while True:
            try:
                self.shut()
            except Interrupted:
                continue
            return

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Execute another run's work meanwhile, which the bodies here have nothing to do with."""
        before, bodies = self.inside, self.bodies
        self.enter_engine()
        self.bodies = []
        try:
            yield
        finally:
            self.bodies = bodies
            self.leave_engine(before)

    def enter_engine(self) -> None:
        """Begin to execute the engine for a run, perhaps from within the body of another."""
        if self.inside is Inside.BODY:
            self.shut_firmly()
        else:
            self.inside = Inside.ENGINE

    def leave_engine(self, before: Inside) -> None:
        """Go back to where the engine was entered from, and raise what has been waiting.

        Raises:
            Interrupted: the body around it is to stop.
            KeyboardInterrupt, TerminationSignal: a signal arrived meanwhile.
        """
        self.open(before)


def _raise_in(ident: int, kind: type[BaseException] | None) -> None:
    error = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), error)


class _Local(threading.local):
    def __init__(self) -> None:
        self.gate = Gate()


_local: Final = _Local()
_woken: Final = threading.Event()
_timers: Final = threading.Lock()


def gate() -> Gate:
    """Give the gate of this thread."""
    return _local.gate


def wake_main_thread() -> None:
    """Have the main thread wake from blocking calls when one of its bodies must stop.

    Does nothing outside the main thread, or where the program uses the signal itself: then an
    interrupt takes effect when the blocking call returns.
    """
    if WAKE is None or _woken.is_set() or threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(WAKE) in {signal.SIG_DFL, signal.SIG_IGN}:
        signal.signal(WAKE, _on_wake)
        _woken.set()


def _on_wake(_signum: int, _frame: object) -> None:
    here = gate()
    if here.inside is Inside.BODY and here.due():
        raise Interrupted


def wait(event: threading.Event, timeout: float | None = None) -> bool:
    """Wait for an event; if a body of this thread is told to stop meanwhile, wake up."""
    here = gate()
    here.sleeping = event
    try:
        if here.inside is Inside.BODY and here.due():
            raise Interrupted
        return event.wait(timeout)
    finally:
        here.sleeping = None


class Control:
    """The handle by which one run is stopped, whoever asks and wherever it executes."""

    __slots__ = ("_gate", "_loop", "_task", "_timer", "closed", "parent", "reason")

    def __init__(self, parent: Control | None) -> None:
        self.parent = parent
        self.reason: Reason | None = None
        self.closed = False
        self._timer: object = None
        self._gate: Gate | None = None
        self._task: asyncio.Task[object] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def stop(self, reason: Reason) -> bool:
        """Stop the run; gives False if it has ended or is being cancelled already."""
        if self.closed or self.reason is Reason.CANCELLED:
            return False
        self.reason = reason
        self._interrupt()

        return True

    def _interrupt(self) -> None:
        # Read once: the run may end, and clear them, while this is being done.
        thread, loop = self._gate, self._loop
        if thread is not None:
            thread.knock(self)
        elif loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the run with it
                loop.call_soon_threadsafe(self._cancel_task)

    def _cancel_task(self) -> None:
        if self._task is not None and not self.closed and self.reason is not None:
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

    def call(self, body: Callable[[], T]) -> T:
        """Call a sync body where interrupts may reach it.

        Raises:
            Interrupted: the run, or one around it, was stopped.
        """
        here = gate()
        here.bodies.append(self)
        self._gate = here
        try:
            here.open(Inside.BODY)
            return body()
        finally:
            here.shut_firmly()
            self._gate = None
            here.bodies.remove(self)

    def sleep(self, seconds: float) -> None:
        """Sleep between two attempts of a sync run, where interrupts may reach it."""
        self.call(lambda: wait(threading.Event(), seconds))

    def begin_task(self, task: asyncio.Task[object]) -> None:
        """Say that an async run is executed by this task from now on."""
        self._task, self._loop = task, task.get_loop()

    def end_task(self) -> None:
        """Say that the task has ended with the run."""
        self._task = self._loop = None

    def take_back(self, error: BaseException) -> None:
        """Take a cancellation back that has done its work, so that the task may go on."""
        if self._task is not None and isinstance(error, asyncio.CancelledError):
            self._task.uncancel()

    def start_timer(self) -> object:
        """Begin to bound a call of the body; gives what `expire` must be told."""
        self._timer = object()

        return self._timer

    def stop_timer(self) -> None:
        """Say that the bounded call has ended: its timer may no longer stop the run."""
        with _timers:
            self._timer = None

    def expire(self, timer: object) -> None:
        """Stop the run because its time is over, if that timer is still running."""
        with _timers:
            if self._timer is timer:
                self.stop(Reason.TIMED_OUT)


live: Final[dict[UUID, Control]] = {}
"""The controls of the runs that are being executed in this process."""
